// Bilinear resize with half-pixel centres and without antialiasing, channels last or first.
//
// A task is a few output rows. Channels last: vectors run over the channels of one pixel. Channels
// first: the two source rows are mixed into one row of scratch, from which the columns are picked.
#include "../plan/bilinear.h"
#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {
namespace {

HRSAM_INLINE V mix(V a, V b, V weight) { return fma(weight, b - a, a); }

template <class T>
class BilinearResize : public Op {
 public:
  BilinearResize(int operand, const Value& x, const Value& result, bool channels_last)
      : operand_(operand),
        channels_last_(channels_last),
        planes_(channels_last ? x.dim(0) : x.dim(0) * x.dim(1)),
        channels_(channels_last ? x.dim(3) : 1),
        in_h_(x.dim(channels_last ? 1 : 2)),
        in_w_(x.dim(channels_last ? 2 : 3)),
        out_h_(result.dim(channels_last ? 1 : 2)),
        out_w_(result.dim(channels_last ? 2 : 3)),
        rows_(in_h_, out_h_),
        columns_(in_w_, out_w_) {}

  void run(const Run& run) const override {
    const T* from = run.in<T>(operand_);
    T* to = run.out<T>();
    if (!channels_last_) run.pool.reserve(sizeof(float) * static_cast<size_t>(mixed_w() + out_w_));
    const int64_t rows = planes_ * out_h_;
    const int64_t grain = larger(1, kTaskBytes / larger(1, out_w_ * channels_ * dtype_size()));
    run.pool.each(divide_up(rows, grain), [&](int64_t task, int thread) {
      for (int64_t row = task * grain; row < smaller(rows, (task + 1) * grain); ++row) {
        const T* plane = from + row / out_h_ * in_h_ * in_w_ * channels_;
        const int64_t y = row % out_h_;
        const T* top = plane + rows_.lo()[y] * in_w_ * channels_;
        const T* bottom = plane + rows_.hi()[y] * in_w_ * channels_;
        T* out = to + row * out_w_ * channels_;
        if (channels_last_)
          pixels(top, bottom, rows_.weight()[y], out);
        else
          scalars(top, bottom, rows_.weight()[y], out,
                  static_cast<float*>(run.pool.scratch(thread)));
      }
    });
  }

 private:
  static int64_t dtype_size() { return static_cast<int64_t>(sizeof(T)); }
  int64_t mixed_w() const { return divide_up(in_w_, kWidth) * kWidth; }

  void pixels(const T* top, const T* bottom, float weight, T* out) const {
    const V wy = set1(weight);
    for (int64_t x = 0; x < out_w_; ++x, out += channels_) {
      const int64_t lo = columns_.lo()[x] * channels_, hi = columns_.hi()[x] * channels_;
      const V wx = set1(columns_.weight()[x]);
      int64_t c = 0;
      for (; c + kWidth <= channels_; c += kWidth)
        store(out + c, mix(mix(load(top + lo + c), load(top + hi + c), wx),
                           mix(load(bottom + lo + c), load(bottom + hi + c), wx), wy));
      const int n = static_cast<int>(channels_ - c);
      if (n > 0)
        store_n(out + c,
                mix(mix(load_n(top + lo + c, n), load_n(top + hi + c, n), wx),
                    mix(load_n(bottom + lo + c, n), load_n(bottom + hi + c, n), wx), wy),
                n);
    }
  }

  void scalars(const T* top, const T* bottom, float weight, T* out, float* mixed) const {
    const V wy = set1(weight);
    for (int64_t x = 0; x < in_w_; x += kWidth) {
      const int n = static_cast<int>(smaller(kWidth, in_w_ - x));
      store(mixed + x, mix(load_n(top + x, n), load_n(bottom + x, n), wy));
    }
    float* picked = mixed + mixed_w();
    const int32_t *lo = columns_.lo(), *hi = columns_.hi();
    const float* wx = columns_.weight();
    for (int64_t x = 0; x < out_w_; ++x)
      picked[x] = mixed[lo[x]] + wx[x] * (mixed[hi[x]] - mixed[lo[x]]);
    for (int64_t x = 0; x < out_w_; x += kWidth) {
      const int n = static_cast<int>(smaller(kWidth, out_w_ - x));
      store_n(out + x, load_n(picked + x, n), n);
    }
  }

  int operand_;
  bool channels_last_;
  int64_t planes_, channels_, in_h_, in_w_, out_h_, out_w_;
  LerpAxis rows_, columns_;
};

}  // namespace

Op* compile_bilinear_resize(const Node& node, Compiler&) {
  check_bilinear_resize(node);
  const Value &x = node.value("x"), &result = node.result();
  const bool last = node.flag("channels_last");
  const int operand = node.operand("x");
  if (x.dtype == DType::f32) return new BilinearResize<float>(operand, x, result, last);
  return new BilinearResize<bf16>(operand, x, result, last);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// The adjoint of bilinear_resize, separably: the rows of dy that a row of x went into are mixed as
// they were made, then the columns are handed back in their order.
#include "../plan/bilinear.h"
#include "../plan/gradient_checks.h"
#include "carver.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// sums += factor · x
template <class T>
void add_scaled(const T* x, float factor, int64_t n, float* sums) {
  const V f = set1(factor);
  for (int64_t i = 0; i < n; i += kWidth) {
    const int lanes = static_cast<int>(smaller(kWidth, n - i));
    store_lanes(sums + i, fma(f, load_lanes(x + i, lanes), load_lanes(sums + i, lanes)), lanes);
  }
}

template <class T>
class BilinearResizeGradient : public Op {
 public:
  BilinearResizeGradient(int operand, const Value& dy, const Value& result, bool channels_last)
      : operand_(operand),
        planes_(channels_last ? dy.dim(0) : dy.dim(0) * dy.dim(1)),
        channels_(channels_last ? dy.dim(3) : 1),
        in_h_(result.dim(channels_last ? 1 : 2)),
        in_w_(result.dim(channels_last ? 2 : 3)),
        out_h_(dy.dim(channels_last ? 1 : 2)),
        out_w_(dy.dim(channels_last ? 2 : 3)),
        rows_(in_h_, out_h_),
        columns_(in_w_, out_w_) {}

  void run(const Run& run) const override {
    Carver sizes(nullptr);
    sizes.take<float>(out_w_ * channels_);
    sizes.take<float>(in_w_ * channels_);
    run.pool.reserve(sizes.bytes());
    const int64_t rows = planes_ * in_h_;
    // A row reads about 2·out_h / in_h rows of dy.
    const int64_t bytes = (2 * out_h_ / larger(1, in_h_) + 2) * out_w_ * channels_ * 4;
    const int64_t grain = larger(1, kTaskBytes / larger(1, bytes));
    run.pool.each(divide_up(rows, grain), [&](int64_t task, int thread) {
      Carver carver(run.pool.scratch(thread));
      float* mixed = carver.take<float>(out_w_ * channels_);
      float* sums = carver.take<float>(in_w_ * channels_);
      for (int64_t row = task * grain; row < smaller(rows, (task + 1) * grain); ++row) {
        const T* plane = run.in<T>(operand_) + row / in_h_ * out_h_ * out_w_ * channels_;
        mix_rows(plane, static_cast<int32_t>(row % in_h_), mixed);
        hand_back(mixed, sums);
        T* out = run.out<T>() + row * in_w_ * channels_;
        for (int64_t i = 0; i < in_w_ * channels_; i += kWidth) {
          const int n = static_cast<int>(smaller(kWidth, in_w_ * channels_ - i));
          store_lanes(out + i, load_lanes(sums + i, n), n);
        }
      }
    });
  }

 private:
  void mix_rows(const T* plane, int32_t row, float* mixed) const {
    const int64_t length = out_w_ * channels_;
    memset(mixed, 0, static_cast<size_t>(length) * sizeof(float));
    const int32_t *lo = rows_.lo(), *hi = rows_.hi();
    for (int64_t y = first(hi, out_h_, row); y < out_h_ && lo[y] <= row; ++y) {
      const float weight = rows_.weight()[y];
      const float factor = (lo[y] == row ? 1 - weight : 0) + (hi[y] == row ? weight : 0);
      add_scaled(plane + y * length, factor, length, mixed);
    }
  }

  // The first of n ascending numbers that is at least `least`.
  static int64_t first(const int32_t* numbers, int64_t n, int32_t least) {
    int64_t begin = 0;
    while (begin < n) {
      const int64_t middle = (begin + n) / 2;
      if (numbers[middle] < least)
        begin = middle + 1;
      else
        n = middle;
    }
    return begin;
  }

  void hand_back(const float* mixed, float* sums) const {
    memset(sums, 0, static_cast<size_t>(in_w_ * channels_) * sizeof(float));
    for (int64_t x = 0; x < out_w_; ++x, mixed += channels_) {
      const float weight = columns_.weight()[x];
      float* lo = sums + columns_.lo()[x] * channels_;
      float* hi = sums + columns_.hi()[x] * channels_;
      if (channels_ == 1) {
        *lo += (1 - weight) * *mixed;
        *hi += weight * *mixed;
      } else {
        add_scaled(mixed, 1 - weight, channels_, lo);
        add_scaled(mixed, weight, channels_, hi);
      }
    }
  }

  int operand_;
  int64_t planes_, channels_, in_h_, in_w_, out_h_, out_w_;  // in: of the picture that was resized
  LerpAxis rows_, columns_;
};

}  // namespace

Op* compile_bilinear_resize_gradient(const Node& node, Compiler&) {
  check_bilinear_resize_gradient(node);
  const Value &dy = node.value("dy"), &result = node.result();
  const bool last = node.flag("channels_last");
  const int operand = node.operand("dy");
  if (dy.dtype == DType::f32) return new BilinearResizeGradient<float>(operand, dy, result, last);
  return new BilinearResizeGradient<bf16>(operand, dy, result, last);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// Depthwise k×k convolution, channels last, zero padding, stride 1.
//
// A task owns some rows of the result and computes pixel by pixel, some vectors of channels at a
// time, their sums in registers: x is then read in long runs, which the processor's prefetch
// follows (groups of pixels read each weight less often, but took twice the time on large grids).
#include <stdio.h>

#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int kVectors = 8;
constexpr int64_t kRows = 4;  // of a task: more would leave too few tasks for the 64×64 grid

// (C, 1, k, k) → (k·k, C); flipped in both directions for the gradient of the input.
void pack(const float* weight, int64_t channels, int64_t taps, bool flip, float* packed) {
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t tap = 0; tap < taps; ++tap)
      packed[tap * channels + c] = weight[c * taps + (flip ? taps - 1 - tap : tap)];
}

class DepthwiseConv : public Op {
 public:
  DepthwiseConv(const Node& node, const Value& x, int64_t kernel, Compiler& compiler)
      : x_(node.operand("x")),
        weight_(node.operand("weight")),
        dtypes_{x.dtype, node.result().dtype},
        batch_(x.dim(0)),
        height_(x.dim(1)),
        width_(x.dim(2)),
        channels_(x.dim(3)),
        kernel_(kernel),
        flip_(node.flag("flip")) {
    const Value& weight = node.value("weight");
    if (weight.data == nullptr) return;
    char layout[96];
    snprintf(layout, sizeof(layout), "depthwise_conv %d %lld %lld", flip_,
             static_cast<long long>(channels_), static_cast<long long>(kernel_));
    void* data = nullptr;
    bool fresh = false;
    shared_ = compiler.share(weight, layout, packed_bytes(), &data, &fresh);
    packed_ = static_cast<float*>(data);
    if (fresh)
      pack(static_cast<const float*>(weight.data), channels_, kernel_ * kernel_, flip_, packed_);
  }
  ~DepthwiseConv() override { Compiler::release(shared_); }

  void run(const Run& run) const override {
    const float* packed = packed_;
    if (packed == nullptr) {
      run.pool.reserve(packed_bytes());
      float* scratch = static_cast<float*>(run.pool.scratch(0));
      pack(run.in<float>(weight_), channels_, kernel_ * kernel_, flip_, scratch);
      packed = scratch;
    }
    with_floats(dtypes_[0], [&](auto from) {
      with_floats(dtypes_[1], [&](auto to) {
        const auto* x = run.in<decltype(from)>(x_);
        auto* y = run.out<decltype(to)>();
        const int64_t blocks = divide_up(height_, kRows);
        run.pool.each(batch_ * blocks, [&](int64_t i, int) {
          const int64_t start = i / blocks * height_ * width_ * channels_;
          const int64_t first = i % blocks * kRows;
          for (int64_t row = first; row < smaller(height_, first + kRows); ++row)
            convolve_row(x + start, packed, y + start + row * width_ * channels_, row);
        });
      });
    });
  }

 private:
  size_t packed_bytes() const {
    return static_cast<size_t>(kernel_ * kernel_ * channels_) * sizeof(float);
  }

  template <class X, class Y>
  void convolve_row(const X* image, const float* packed, Y* out, int64_t row) const {
    for (int64_t column = 0; column < width_; ++column, out += channels_) {
      int64_t c = 0;
      for (; c + kVectors * kWidth <= channels_; c += kVectors * kWidth)
        convolve<kVectors>(image, packed, out + c, row, column, c, kWidth);
      for (; c < channels_; c += kWidth)
        convolve<1>(image, packed, out + c, row, column, c,
                    static_cast<int>(smaller(kWidth, channels_ - c)));
    }
  }

  // Some channels of one pixel; the last vector has `lanes` of them.
  template <int vectors, class X, class Y>
  void convolve(const X* image, const float* packed, Y* out, int64_t row, int64_t column, int64_t c,
                int lanes) const {
    const int64_t reach = kernel_ / 2;
    const int64_t top = larger(0, reach - row);  // the kernel's rows and columns inside the image
    const int64_t bottom = smaller(kernel_, height_ + reach - row);
    const int64_t left = larger(0, reach - column);
    const int64_t right = smaller(kernel_, width_ + reach - column);
    V sums[vectors];
    for (int v = 0; v < vectors; ++v) sums[v] = zero();
    for (int64_t i = top; i < bottom; ++i) {
      const X* x = image + ((row + i - reach) * width_ + column + left - reach) * channels_ + c;
      const float* taps = packed + (i * kernel_ + left) * channels_ + c;
      for (int64_t j = left; j < right; ++j, x += channels_, taps += channels_) {
        if (vectors == 1 && lanes < kWidth) {
          sums[0] = fma(load_n(x, lanes), load_n(taps, lanes), sums[0]);
          continue;
        }
        for (int v = 0; v < vectors; ++v)
          sums[v] = fma(load(x + v * kWidth), load(taps + v * kWidth), sums[v]);
      }
    }
    if (vectors == 1 && lanes < kWidth) {
      store_n(out, sums[0], lanes);
      return;
    }
    for (int v = 0; v < vectors; ++v) store(out + v * kWidth, sums[v]);
  }

  int x_, weight_;
  DType dtypes_[2];
  int64_t batch_, height_, width_, channels_, kernel_;
  bool flip_;
  Compiler::Shared* shared_ = nullptr;
  float* packed_ = nullptr;  // null: the weight is known only when it runs
};

}  // namespace

Op* compile_depthwise_conv(const Node& node, Compiler& compiler) {
  check_depthwise_conv(node);
  const Value& x = node.value("x");
  const Value& weight = node.value("weight");
  const int64_t kernel = weight.dim(3);
  return new DepthwiseConv(node, x, kernel, compiler);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// The adjoint of im2col: rows of patches are added up where their pixels came from.
//
// A task owns rows of the picture. The patches' runs (k·C values of a row with channels last, k
// values of one channel else) are added to a row of f32 sums, in ascending order of patches.
#include "../plan/patches.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

template <class T>
class Col2im : public Op {
 public:
  Col2im(int dy, const PatchShape& shape) : dy_(dy), s_(shape) {
    pixel_ = s_.channels_last ? s_.channels : 1;
    planes_ = s_.channels_last ? 1 : s_.channels;
    patch_ = planes_ * s_.kernel * s_.kernel * pixel_;
  }

  void run(const Run& run) const override {
    const int64_t length = s_.width * pixel_;
    run.pool.reserve(static_cast<size_t>(length) * sizeof(float));
    const int64_t rows = s_.batch * planes_ * s_.height;
    const int64_t overlap = divide_up(s_.kernel, s_.stride);
    const int64_t grain = larger(1, kTaskBytes / larger(1, length * 4 * overlap * overlap));
    run.pool.each(divide_up(rows, grain), [&](int64_t task, int thread) {
      float* sums = static_cast<float*>(run.pool.scratch(thread));
      for (int64_t row = task * grain; row < smaller(rows, (task + 1) * grain); ++row) {
        memset(sums, 0, static_cast<size_t>(length) * sizeof(float));
        add_patches(run.in<T>(dy_), row, sums);
        T* out = run.out<T>() + row * length;
        for (int64_t i = 0; i < length; i += kWidth) {
          const int n = static_cast<int>(smaller(kWidth, length - i));
          store_lanes(out + i, load_lanes(sums + i, n), n);
        }
      }
    });
  }

 private:
  // All patches that saw row `row` of all planes.
  void add_patches(const T* dy, int64_t row, float* sums) const {
    const int64_t y = row % s_.height + s_.padding;
    const int64_t plane = row / s_.height % planes_, image = row / s_.height / planes_;
    const int64_t first = y < s_.kernel ? 0 : (y - s_.kernel) / s_.stride + 1;
    const int64_t last = smaller(s_.rows - 1, y / s_.stride);
    for (int64_t i = first; i <= last; ++i) {
      const int64_t line = plane * s_.kernel + y - i * s_.stride;  // of a patch
      const T* run = dy + (image * s_.rows + i) * s_.columns * patch_ + line * s_.kernel * pixel_;
      for (int64_t j = 0; j < s_.columns; ++j) {
        const int64_t left = j * s_.stride - s_.padding;
        const int64_t begin = larger(0, -left), end = smaller(s_.kernel, s_.width - left);
        if (begin < end)
          add(run + j * patch_ + begin * pixel_, (end - begin) * pixel_,
              sums + (left + begin) * pixel_);
      }
    }
  }

  static void add(const T* from, int64_t n, float* sums) {
    for (int64_t i = 0; i < n; i += kWidth) {
      const int lanes = static_cast<int>(smaller(kWidth, n - i));
      store_lanes(sums + i, load_lanes(sums + i, lanes) + load_lanes(from + i, lanes), lanes);
    }
  }

  int dy_;
  PatchShape s_;
  int64_t pixel_, planes_, patch_;
};

}  // namespace

Op* compile_col2im(const Node& node, Compiler&) {
  const PatchShape s = read_col2im(node);
  if (node.value("dy").dtype == DType::f32) return new Col2im<float>(node.operand("dy"), s);
  return new Col2im<bf16>(node.operand("dy"), s);
}

}  // namespace hrsam::cpu::HRSAM_ISA

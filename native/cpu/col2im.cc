// The adjoint of im2col: rows of patches are added up where their pixels came from.
//
// A task owns rows of the picture. The patches' runs (k·C values of a row with channels last, k
// values of one channel else) are added to a row of f32 sums, in ascending order of patches.
#include "expect.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

struct Shape {
  int64_t batch, height, width, channels;  // the picture
  int64_t rows, columns;                   // of patches
  int64_t kernel, stride, padding;
  bool channels_last;
};

template <class T>
class Col2im : public Op {
 public:
  Col2im(int dy, const Shape& shape) : dy_(dy), s_(shape) {
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
  Shape s_;
  int64_t pixel_, planes_, patch_;
};

}  // namespace

Op* compile_col2im(const Node& node, Compiler&) {
  const Value& dy = node.value("dy");
  const Value& result = node.result();
  expect_rank(node, dy, "dy", 4);
  expect_floats(node, dy, "dy");
  expect(node, result.dtype == dy.dtype, "the result's type is not dy's");
  Shape s{};
  int64_t size[2];
  integers(node, "size", 2, size);
  s.height = size[0];
  s.width = size[1];
  s.channels_last = node.flag("channels_last");
  s.kernel = node.integer("kernel");
  s.stride = node.integer("stride");
  s.padding = node.integer("padding");
  expect(node, s.kernel >= 1 && s.kernel <= 1024, "kernel: expected 1 to 1024");
  expect(node, s.stride >= 1 && s.stride <= 1024, "stride: expected 1 to 1024");
  expect(node, s.padding >= 0 && s.padding <= 1024, "padding: expected 0 to 1024");
  expect(node, smaller(s.height, s.width) + 2 * s.padding >= s.kernel,
         "size: smaller than the kernel");
  s.batch = dy.dim(0);
  s.channels = dy.dim(3) / (s.kernel * s.kernel);
  s.rows = (s.height + 2 * s.padding - s.kernel) / s.stride + 1;
  s.columns = (s.width + 2 * s.padding - s.kernel) / s.stride + 1;
  expect(node, has_shape(dy, {s.batch, s.rows, s.columns, s.kernel * s.kernel * s.channels}),
         "dy: not (B, rows, columns, kernel * kernel * channels) of a picture of that size");
  expect(node,
         s.channels_last ? has_shape(result, {s.batch, s.height, s.width, s.channels})
                         : has_shape(result, {s.batch, s.channels, s.height, s.width}),
         "the result's shape is not that of the picture");
  if (dy.dtype == DType::f32) return new Col2im<float>(node.operand("dy"), s);
  return new Col2im<bf16>(node.operand("dy"), s);
}

}  // namespace hrsam::cpu::HRSAM_ISA

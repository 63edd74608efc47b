// The patches that a convolution's kernel sees: shapes of im2col and of its gradient.
#pragma once

#include "expect.h"
#include "integers.h"

namespace HRSAM_OPS {

struct PatchShape {
  int64_t batch, height, width, channels;  // the picture
  int64_t rows, columns;                   // positions of the kernel
  int64_t kernel, stride, padding;
  bool channels_last;
  int64_t element_bytes;
};

inline PatchShape read_kernel(const Node& node) {
  PatchShape s{};
  s.channels_last = node.flag("channels_last");
  s.kernel = node.integer("kernel");
  s.stride = node.integer("stride");
  s.padding = node.integer("padding");
  expect(node, s.kernel >= 1 && s.kernel <= 1024, "kernel: expected 1 to 1024");
  expect(node, s.stride >= 1 && s.stride <= 1024, "stride: expected 1 to 1024");
  expect(node, s.padding >= 0 && s.padding <= 1024, "padding: expected 0 to 1024");
  return s;
}

// Of a picture that is no smaller than the kernel.
inline void set_positions(PatchShape& s) {
  s.rows = (s.height + 2 * s.padding - s.kernel) / s.stride + 1;
  s.columns = (s.width + 2 * s.padding - s.kernel) / s.stride + 1;
}

inline PatchShape read_im2col(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  expect_rank(node, x, "x", 4);
  PatchShape s = read_kernel(node);
  s.batch = x.dim(0);
  s.height = x.dim(s.channels_last ? 1 : 2);
  s.width = x.dim(s.channels_last ? 2 : 3);
  s.channels = x.dim(s.channels_last ? 3 : 1);
  s.element_bytes = dtype_bytes(x.dtype);
  expect(node, larger(0, smaller(s.height, s.width)) + 2 * s.padding >= s.kernel,
         "x: smaller than the kernel");
  set_positions(s);
  expect(node,
         result.dtype == x.dtype &&
             has_shape(result, {s.batch, s.rows, s.columns, s.kernel * s.kernel * s.channels}),
         "the result's shape or type is not (B, rows, columns, kernel * kernel * channels) of x");
  return s;
}

inline PatchShape read_col2im(const Node& node) {
  const Value& dy = node.value("dy");
  const Value& result = node.result();
  expect_rank(node, dy, "dy", 4);
  expect_floats(node, dy, "dy");
  expect(node, result.dtype == dy.dtype, "the result's type is not dy's");
  PatchShape s = read_kernel(node);
  int64_t size[2];
  integers(node, "size", 2, size);
  s.height = size[0];
  s.width = size[1];
  expect(node, smaller(s.height, s.width) + 2 * s.padding >= s.kernel,
         "size: smaller than the kernel");
  s.batch = dy.dim(0);
  s.channels = dy.dim(3) / (s.kernel * s.kernel);
  set_positions(s);
  expect(node, has_shape(dy, {s.batch, s.rows, s.columns, s.kernel * s.kernel * s.channels}),
         "dy: not (B, rows, columns, kernel * kernel * channels) of a picture of that size");
  expect(node,
         s.channels_last ? has_shape(result, {s.batch, s.height, s.width, s.channels})
                         : has_shape(result, {s.batch, s.channels, s.height, s.width}),
         "the result's shape is not that of the picture");
  return s;
}

}  // namespace HRSAM_OPS

// What forward ops expect of their operands and results, one function per op; for all backends.
#pragma once

#include "activation.h"
#include "expect.h"

namespace HRSAM_OPS {

inline void check_activation(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  expect_floats(node, x, "x");
  expect_floats(node, result, "the result");
  expect(node, same_shape(x, result), "the result's shape is not that of x");
  activation_of(node);
}

inline void check_add(const Node& node) {
  const Value& a = node.value("a");
  const Value& b = node.value("b");
  const Value& result = node.result();
  expect_floats(node, a, "a");
  expect_floats(node, b, "b");
  expect_floats(node, result, "the result");
  expect(node, same_shape(a, result), "the result's shape is not that of a");
  for (int i = a.rank - 1, j = b.rank - 1; j >= 0; --i, --j)
    expect(node, b.dims[j] == 1 || (i >= 0 && b.dims[j] == a.dims[i]),
           "b: does not broadcast to the shape of a");
}

// Between floats, or a copy of any type.
inline void check_cast(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  if (x.dtype != result.dtype) {
    expect_floats(node, x, "x");
    expect_floats(node, result, "the result");
  }
  expect(node, same_shape(x, result), "the result's shape is not that of x");
}

inline void check_depth_to_space(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  const int64_t block = node.integer("block");
  expect_rank(node, x, "x", 4);
  expect(node, block >= 1 && block <= 1024, "block: expected 1 to 1024");
  expect(node, x.dim(3) % (block * block) == 0, "x: its channels do not fill whole blocks");
  expect(node,
         result.dtype == x.dtype && has_shape(result, {x.dim(0), block * x.dim(1), block * x.dim(2),
                                                       x.dim(3) / (block * block)}),
         "the result's shape or type is not that of x's blocks");
}

inline void check_depthwise_conv(const Node& node) {
  const Value& x = node.value("x");
  const Value& weight = node.value("weight");
  const Value& result = node.result();
  expect_rank(node, x, "x", 4);
  expect_floats(node, x, "x");
  expect_rank(node, weight, "weight", 4);
  expect_f32(node, weight, "weight");
  expect_floats(node, result, "the result");
  const int64_t kernel = weight.dim(3);
  expect(node, kernel % 2 == 1 && has_shape(weight, {x.dim(3), 1, kernel, kernel}),
         "weight: expected (C, 1, k, k) with odd k and the channels of x");
  expect(node, same_shape(x, result), "the result's shape is not that of x");
}

inline void check_expand(const Node& node) {
  const Value& x = node.value("x");
  const Value& result = node.result();
  Value expected = x;
  if (x.rank > 0) expected.dims[0] = node.integer("batch");
  expect(node,
         x.rank > 0 && x.dims[0] == 1 && x.dtype == result.dtype && same_shape(expected, result),
         "x (1, ...) to (batch, ...)");
}

inline void check_layer_norm(const Node& node) {
  const Value& x = node.value("x");
  expect_floats(node, x, "x");
  expect_channels(node, x);
  const int64_t channels[] = {x.dim(-1)};
  const char* const names[] = {"weight", "bias"};
  for (const char* name : names) {
    expect_f32(node, node.value(name), name);
    expect(node, has_shape(node.value(name), channels), "weight, bias: not one number per channel");
  }
  if (node.has("gate")) {
    expect_floats(node, node.value("gate"), "gate");
    expect(node, node.value("gate").elements() == x.elements(), "gate: not of x's size");
  }
  expect_floats(node, node.result(), "result");
  expect(node, same_shape(node.result(), x), "result: not of x's shape");
  activation_of(node);
}

inline void check_linear(const Node& node) {
  const Value& x = node.value("x");
  const Value& weight = node.value("weight");
  const Value& result = node.result();
  expect_floats(node, x, "x");
  expect_floats(node, weight, "weight");
  expect_floats(node, result, "the result");
  expect_rank(node, weight, "weight", 2);
  const bool transposed = node.flag("transposed");
  const int64_t n = weight.dim(transposed ? 1 : 0), k = weight.dim(transposed ? 0 : 1);
  expect(node, x.rank >= 1 && k >= 1 && x.dim(-1) == k,
         "x: its last dimension is not the weight's");
  expect(node, result.rank == x.rank && result.dim(-1) == n && result.elements() == x.rows() * n,
         "the result's shape is not (..., rows of the weight)");
  if (node.has("bias")) {
    const Value& bias = node.value("bias");
    expect_f32(node, bias, "bias");
    expect(node, has_shape(bias, {n}), "bias: expected one number per row of the weight");
  }
  if (node.has("residual")) {
    const Value& residual = node.value("residual");
    expect_floats(node, residual, "residual");
    expect(node, residual.rank >= 1 && residual.dim(-1) == n,
           "residual: its last dimension is not the result's");
    expect(node, residual.rows() > 0 ? x.rows() % residual.rows() == 0 : result.elements() == 0,
           "residual: its rows do not divide the result's");
  }
  activation_of(node);
}

inline void check_matmul(const Node& node) {
  const Value& a = node.value("a");
  const Value& b = node.value("b");
  const Value& result = node.result();
  expect_f32(node, a, "a");
  expect_f32(node, b, "b");
  expect_f32(node, result, "the result");
  expect_rank(node, a, "a", 3);
  expect_rank(node, b, "b", 3);
  expect(node, a.dims[2] >= 1 && a.dims[2] == b.dims[2], "a and b differ in their last dimension");
  expect(node, b.dims[0] == 1 || b.dims[0] == a.dims[0], "b: its batches are not a's");
  expect(node, has_shape(result, {a.dims[0], a.dims[1], b.dims[1]}),
         "the result's shape is not (batches, rows of a, rows of b)");
}

inline void check_mul(const Node& node) {
  const Value& a = node.value("a");
  const Value& b = node.value("b");
  expect_floats(node, a, "a");
  expect_floats(node, b, "b");
  expect_floats(node, node.result(), "the result");
  expect(node, same_shape(a, b), "b: not of a's shape");
  expect(node, same_shape(a, node.result()), "the result's shape is not that of a");
}

inline void check_position_encoding(const Node& node) {
  const Value& gaussian = node.value("gaussian");
  int64_t size[2];
  integers(node, "size", 2, size);
  expect_rank(node, gaussian, "gaussian", 2);
  expect_f32(node, gaussian, "gaussian");
  expect_f32(node, node.result(), "the result");
  const int64_t half = gaussian.dim(1);
  expect(node, gaussian.dim(0) == 2, "gaussian: expected (2, E / 2)");
  expect(node, has_shape(node.result(), {1, size[0], size[1], 2 * half}),
         "the result's shape is not (1, h, w, E)");
}

inline void check_prompt_points(const Node& node) {
  int64_t size[2];
  integers(node, "size", 2, size);
  if (size[0] < 1 || size[1] < 1) node.fail("ERR_ARGUMENT", "size: expected at least one pixel");
  const char* const names[] = {"points", "labels", "gaussian", "embeddings", "not_a_point"};
  for (const char* name : names) expect_f32(node, node.value(name), name);
  expect_f32(node, node.result(), "the result");
  const Value& labels = node.value("labels");
  const Value& gaussian = node.value("gaussian");
  expect_rank(node, labels, "labels", 2);
  expect_rank(node, gaussian, "gaussian", 2);
  const int64_t width = 2 * gaussian.dim(1);
  expect(node, gaussian.dim(0) == 2, "gaussian: expected (2, E / 2)");
  expect(node, has_shape(node.value("points"), {labels.dim(0), labels.dim(1), 2}),
         "points: expected (B, n, 2)");
  expect(node, has_shape(node.value("embeddings"), {4, width}), "embeddings: expected (4, E)");
  expect(node, has_shape(node.value("not_a_point"), {1, width}), "not_a_point: expected (1, E)");
  expect(node, has_shape(node.result(), {labels.dim(0), labels.dim(1), width}),
         "the result's shape is not (B, n, E)");
}

inline void check_rel_pos(const Node& node) {
  const Value& table = node.value("table");
  const int64_t q_size = node.integer("q_size"), k_size = node.integer("k_size");
  expect_rank(node, table, "table", 2);
  expect_f32(node, table, "table");
  expect_f32(node, node.result(), "the result");
  expect(node, table.dim(0) >= 1 && q_size >= 1 && k_size >= 1, "table or sizes: empty");
  expect(node, has_shape(node.result(), {q_size, k_size, table.dim(1)}),
         "the result's shape is not (q_size, k_size, d)");
}

inline void check_scale_samples(const Node& node) {
  const Value& x = node.value("x");
  const Value& scale = node.value("scale");
  expect_floats(node, x, "x");
  expect_f32(node, scale, "scale");
  expect_floats(node, node.result(), "the result");
  expect(node, x.rank >= 1 && scale.rank == 1 && scale.dims[0] == x.dims[0],
         "x and scale are not (B, ...) and (B)");
  expect(node, same_shape(x, node.result()), "the result's shape is not that of x");
}

inline void check_bilinear_resize(const Node& node) {
  const Value &x = node.value("x"), &result = node.result();
  expect_rank(node, x, "x", 4);
  expect_floats(node, x, "x");
  const bool last = node.flag("channels_last");
  int64_t size[2];
  integers(node, "size", 2, size);
  expect(node, result.dtype == x.dtype, "the result's type is not x's");
  expect(node,
         last ? has_shape(result, {x.dim(0), size[0], size[1], x.dim(3)})
              : has_shape(result, {x.dim(0), x.dim(1), size[0], size[1]}),
         "the result's shape is not x's with the new size");
  expect(node, x.elements() > 0 || result.elements() == 0, "x: an empty picture");
}

}  // namespace HRSAM_OPS

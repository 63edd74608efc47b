// What losses, gradients and the optimizer expect of their operands and results, one function per
// op; for all backends.
#pragma once

#include "activation.h"
#include "expect.h"

namespace HRSAM_OPS {

// Two f32 operands of one shape (B, …).
inline void expect_samples(const Node& node, const char* x_name, const char* target_name) {
  const Value& x = node.value(x_name);
  const Value& target = node.value(target_name);
  expect_f32(node, x, x_name);
  expect_f32(node, target, target_name);
  expect_f32(node, node.result(), "the result");
  expect(node, x.rank >= 1 && same_shape(x, target),
         "the operands' shapes are not the same (B, ...)");
}

// A loss of each sample.
inline void check_sample_loss(const Node& node, const char* x, const char* target) {
  expect_samples(node, x, target);
  expect(node, has_shape(node.result(), {node.value(x).dim(0)}), "the result's shape is not (B)");
}

inline void check_sample_loss_gradient(const Node& node, const char* x, const char* target) {
  expect_samples(node, x, target);
  const Value &value = node.value(x), &dy = node.value("dy");
  expect_f32(node, dy, "dy");
  expect(node, has_shape(dy, {value.dim(0)}), "dy: expected one number per sample");
  expect(node, same_shape(node.result(), value), "the result's shape is not that of the operands");
}

inline void check_activation_gradient(const Node& node) {
  const Value& x = node.value("x");
  const Value& dy = node.value("dy");
  expect_floats(node, x, "x");
  expect_floats(node, dy, "dy");
  expect_floats(node, node.result(), "the result");
  expect(node, same_shape(x, dy), "dy: not of x's shape");
  expect(node, same_shape(x, node.result()), "the result's shape is not that of x");
  activation_of(node);
}

// Parameters that share a learning rate and a decay follow each other.
struct ParameterGroups {
  int count;
  const double *lengths, *rates, *decays;
};

inline ParameterGroups read_groups(const Node& node, int64_t size) {
  ParameterGroups groups{};
  int rate_count = 0, decay_count = 0;
  groups.lengths = node.list("lengths", &groups.count);
  groups.rates = node.list("rates", &rate_count);
  groups.decays = node.list("decays", &decay_count);
  expect(node, rate_count == groups.count && decay_count == groups.count,
         "one rate and one decay per group");
  int64_t total = 0;
  for (int i = 0; i < groups.count; ++i) {
    expect(node, groups.lengths[i] >= 0 && groups.lengths[i] <= static_cast<double>(size),
           "lengths: more than the parameters");
    total += static_cast<int64_t>(groups.lengths[i]);
    expect(node, total <= size, "lengths: more than the parameters");
  }
  expect(node, total == size, "lengths: not the number of parameters");
  return groups;
}

inline void check_adamw(const Node& node) {
  const Value& state = node.value("state");
  const Value& gradient = node.value("gradient");
  const Value& step = node.value("step");
  expect_f32(node, state, "state");
  expect_f32(node, gradient, "gradient");
  expect_f32(node, step, "step");
  expect_rank(node, gradient, "gradient", 1);
  expect(node, has_shape(state, {4, gradient.dim(0)}), "state: expected (4, P)");
  expect(node, has_shape(step, {5}), "step: expected 5 numbers");
  expect(node, node.result().dtype == DType::f32 && same_shape(state, node.result()),
         "the result's shape is not that of state");
}

inline void check_bilinear_resize_gradient(const Node& node) {
  const Value &dy = node.value("dy"), &result = node.result();
  expect_rank(node, dy, "dy", 4);
  expect_floats(node, dy, "dy");
  const bool last = node.flag("channels_last");
  int64_t size[2];
  integers(node, "size", 2, size);
  expect(node, result.dtype == dy.dtype, "the result's type is not dy's");
  expect(node,
         last ? has_shape(result, {dy.dim(0), size[0], size[1], dy.dim(3)})
              : has_shape(result, {dy.dim(0), dy.dim(1), size[0], size[1]}),
         "the result's shape is not dy's with the new size");
  expect(node, result.elements() > 0 || dy.elements() == 0, "size: an empty picture");
}

inline void check_depthwise_conv_weight_gradient(const Node& node) {
  const Value& x = node.value("x");
  const Value& dy = node.value("dy");
  const int64_t kernel = node.integer("kernel");
  expect_rank(node, x, "x", 4);
  expect_floats(node, x, "x");
  expect_floats(node, dy, "dy");
  expect_f32(node, node.result(), "the result");
  expect(node, same_shape(x, dy), "dy: not of x's shape");
  expect(node, kernel >= 1 && kernel <= 1023 && kernel % 2 == 1, "kernel: expected 1, 3, ... 1023");
  expect(node, has_shape(node.result(), {x.dim(3), 1, kernel, kernel}),
         "the result's shape is not (C, 1, k, k)");
}

inline void check_layer_norm_gradient(const Node& node) {
  const Value& x = node.value("x");
  const Value& dy = node.value("dy");
  expect_floats(node, x, "x");
  expect_floats(node, dy, "dy");
  expect_floats(node, node.result(), "the result");
  expect_channels(node, x);
  expect_f32(node, node.value("weight"), "weight");
  expect(node, has_shape(node.value("weight"), {x.dim(-1)}), "weight: not one number per channel");
  expect(node, same_shape(dy, x), "dy: not of x's shape");
  expect(node, same_shape(node.result(), x), "the result's shape is not that of x");
}

inline void check_layer_norm_parameters_gradient(const Node& node) {
  const Value& x = node.value("x");
  const Value& dy = node.value("dy");
  expect_floats(node, x, "x");
  expect_floats(node, dy, "dy");
  expect_f32(node, node.result(), "the result");
  expect_channels(node, x);
  expect(node, same_shape(dy, x), "dy: not of x's shape");
  expect(node, has_shape(node.result(), {2, x.dim(-1)}), "the result's shape is not (2, channels)");
}

inline void check_linear_weight_gradient(const Node& node) {
  const Value& x = node.value("x");
  const Value& dy = node.value("dy");
  expect_floats(node, x, "x");
  expect_f32(node, node.result(), "the result");
  expect(node, x.rank >= 1 && x.rank == dy.rank && x.dtype == dy.dtype,
         "x and dy: not of one type and number of dimensions");
  for (int i = 0; i + 1 < x.rank; ++i)
    expect(node, x.dims[i] == dy.dims[i], "x and dy: not of the same rows");
  expect(node, has_shape(node.result(), {dy.dim(-1), x.dim(-1)}),
         "the result's shape is not (N, K)");
}

inline void check_prompt_points_gradient(const Node& node) {
  const Value& labels = node.value("labels");
  const Value& dy = node.value("dy");
  expect_f32(node, labels, "labels");
  expect_f32(node, dy, "dy");
  expect_f32(node, node.result(), "the result");
  expect_rank(node, dy, "dy", 3);
  expect(node, has_shape(labels, {dy.dim(0), dy.dim(1)}), "labels: expected (B, n) of dy");
  expect(node, has_shape(node.result(), {5, dy.dim(2)}), "the result's shape is not (5, E)");
}

inline void check_rel_pos_gradient(const Node& node) {
  const Value& dy = node.value("dy");
  const int64_t length = node.integer("length");
  expect_rank(node, dy, "dy", 3);
  expect_f32(node, dy, "dy");
  expect_f32(node, node.result(), "the result");
  expect(node, length >= 1 && dy.dim(0) >= 1 && dy.dim(1) >= 1, "length or dy: empty");
  expect(node, has_shape(node.result(), {length, dy.dim(2)}),
         "the result's shape is not (length, d)");
}

inline void check_sum_rows(const Node& node) {
  const Value& x = node.value("x");
  expect_floats(node, x, "x");
  expect_rank(node, x, "x", 2);
  expect_f32(node, node.result(), "the result");
  expect(node, has_shape(node.result(), {x.dim(1)}), "the result's shape is not (columns)");
}

}  // namespace HRSAM_OPS

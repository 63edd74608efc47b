// The sizes of the cycle scan's operands, checked; for the scan and its gradient.
#pragma once

#include <initializer_list>

#include "expect.h"
#include "integers.h"

namespace HRSAM_OPS {

constexpr int kMaxStates = 256;

class ScanShape {
 public:
  // All operands but dy, and not the result.
  explicit ScanShape(const Node& node) : softplus(node.flag("softplus")) {
    const Value &u = node.value("u"), &ssm = node.value("ssm"), &a_log = node.value("a_log");
    expect_rank(node, u, "u", 3);
    expect_floats(node, u, "u");
    expect_floats(node, ssm, "ssm");
    expect_f32(node, a_log, "a_log");
    batch = u.dim(0);
    tokens = u.dim(1);
    expect(node, u.dim(2) > 0 && u.dim(2) < (1 << 24), "u: no channels, or too many");
    channels = static_cast<int>(u.dim(2));
    expect(node, a_log.rank == 2 && a_log.dim(0) == channels, "a_log: expected (channels, states)");
    expect(node, a_log.dim(1) >= 1 && a_log.dim(1) <= kMaxStates,
           "a_log: expected 1 to 256 states");
    states = static_cast<int>(a_log.dim(1));
    expect(node, has_shape(ssm, {batch, tokens, channels + int64_t{2} * states}),
           "ssm: expected (batch, tokens, channels + 2 states)");
    expect_vector(node, "dt_bias");
    expect_vector(node, "d");
    if (node.has("gamma")) {
      const Value& gamma = node.value("gamma");
      expect_f32(node, gamma, "gamma");
      expect(node,
             gamma.rank == 3 && gamma.dim(0) == channels && gamma.dim(1) >= 1 &&
                 gamma.dim(1) <= 1024 && gamma.dim(2) == 1,
             "gamma: expected (channels, readings, 1)");
      readings = static_cast<int>(gamma.dim(1));
    }
    node.list("segments", &segment_count);
    segments_ = Block(static_cast<size_t>(segment_count + 1) * sizeof(int64_t));
    integers(node, "segments", segment_count, segments_.as<int64_t>());
    int64_t total = 0;
    for (int i = 0; i < segment_count; ++i) {
      total += segment(i);
      longest = larger(longest, segment(i));
    }
    expect(node, total == tokens, "segments: their sum is not the number of tokens");
  }

  int64_t segment(int i) const { return segments_.as<int64_t>()[i]; }

 private:
  void expect_vector(const Node& node, const char* name) {
    if (!node.has(name)) return;
    expect_f32(node, node.value(name), name);
    expect(node, has_shape(node.value(name), {channels}), "dt_bias, d: not one number per channel");
  }

  Block segments_;  // int64_t lengths

 public:
  int64_t batch, tokens;
  int channels, states, readings = 1, segment_count = 0;
  int64_t longest = 0;  // segment
  bool softplus;
};

// The gradient's operands and result.
inline ScanShape read_scan_gradient(const Node& node) {
  ScanShape shape(node);
  expect_floats(node, node.value("dy"), "dy");
  expect(node, same_shape(node.value("dy"), node.value("u")), "dy: not of u's shape");
  expect_f32(node, node.result(), "result");
  int64_t size = 0;
  for (const char* name : {"u", "ssm", "a_log", "dt_bias", "d", "gamma"})
    if (node.has(name)) size += node.value(name).elements();
  expect(node, has_shape(node.result(), {size}), "result: expected a list of all gradients");
  return shape;
}

}  // namespace HRSAM_OPS

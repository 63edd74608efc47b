// The set-up of the gradients of window attention.
#pragma once

#include "gradient_setup.h"
#include "gradient_tensor.h"

namespace hrsam::cuda {

using WindowF32 = WindowUnit<float>;

class WindowGradient {
 public:
  WindowGradient(const Node& node, const Compiler& compiler)
      : g_(read_window_attention(node)),
        qkv_(node.operand("qkv")),
        pad_(node.operand_or("pad")),
        rel_h_(node.operand_or("rel_h")),
        rel_w_(node.operand_or("rel_w")),
        dy_(node.operand("dy")),
        dy_type_(node.value("dy").dtype),
        table_(rope_table(compiler, g_.window, g_.d / 2, node.number("rope_theta"),
                          node.number("rope_scale"))) {
    const Value &qkv = node.value("qkv"), &dy = node.value("dy");
    expect_floats(node, dy, "dy");
    expect(node, has_shape(dy, {qkv.dim(0), g_.tokens, qkv.dim(2) / 3}),
           "dy: expected (batch, tokens, channels)");
    s_.type = qkv.dtype;
    s_.q = qkv.elements();
    s_.pad = qkv.dim(2);
    s_.tokens = g_.tokens;
    s_.heads = node.integer("heads");
    s_.queries = qkv.dim(0) * s_.heads * g_.tokens;
    s_.d = g_.d;
    s_.key_rows = s_.key_columns = node.has("rel_h") ? g_.window : 0;
    s_.positions = g_.padded ? qkv.dim(0) * g_.windows * s_.heads * positions() : 0;
    windows_ = qkv.dim(0) * g_.windows;
    s_.tensor = qkv.dtype == DType::bf16 && dy.dtype == DType::bf16 && !node.has("rel_h") &&
                tensor_gradient_fits(g_.d) &&
                tensor_fits(node, {"qkv", "pad", "dy"}, g_.d, qkv.dim(2));
    forward_queries_ = s_.tensor ? tensor_window_queries(g_, compiler) : plain_queries(g_.d);
  }

  const Geometry& geometry() const { return g_; }
  const GradientSizes& sizes() const { return s_; }
  int positions() const { return g_.window * g_.window; }
  int64_t windows() const { return windows_; }  // of all items

  struct Prepared {
    GradientMemory memory;
    WindowCall call;  // with the operands; not cut yet
    GradientCall g;
  };
  Prepared prepare(const Run& run, int64_t rest) const {
    Prepared p{plan_gradient(s_, run.workspace, rest, nullptr), {}, {}};
    p.call.geometry = g_;
    p.call.heads = static_cast<int>(s_.heads);
    p.call.qkv = gradient_operand(run, qkv_, s_, s_.q, p.memory.q);
    p.call.pad = gradient_operand(run, pad_, s_, s_.pad, p.memory.pad);
    const GradientOperands given{rope_of(table_, g_.d / 2), run.in<float>(rel_h_),
                                 run.in<float>(rel_w_), run.in(dy_), dy_type_};
    p.g = prepare_gradient<WindowF32>(run, s_, p.memory, given, cut(p.call, forward_queries_));
    p.g.q = p.g.k = p.g.v = p.call.qkv;
    return p;
  }

  Cut<WindowCall> cut(WindowCall call, int queries) const {
    call.query_block = queries;
    return {call, windows_ * s_.heads * divide_up(positions(), call.query_block)};
  }
  Cut<WindowCall> whole(const WindowCall& call) const { return cut(call, positions()); }

 private:
  Geometry g_;
  int qkv_, pad_, rel_h_, rel_w_, dy_;
  DType dy_type_;
  SharedBlock table_;
  GradientSizes s_{};
  int64_t windows_;
  int forward_queries_;  // of a unit
};

}  // namespace hrsam::cuda

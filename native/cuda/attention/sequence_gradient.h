// The set-up of the gradients of attention over sequences.
#pragma once

#include "gradient_setup.h"

namespace hrsam::cuda {

using SequenceF32 = SequenceUnit<float>;

class SequenceGradient {
 public:
  SequenceGradient(const Node& node, const Compiler& compiler)
      : l_(read_attention(node)),
        q_(node.operand("q")),
        k_(node.operand_or("k")),
        v_(node.operand_or("v")),
        lengths_(node.operand_or("lengths")),
        rel_h_(node.operand_or("rel_h")),
        rel_w_(node.operand_or("rel_w")),
        dy_(node.operand("dy")),
        dy_type_(node.value("dy").dtype),
        table_(rope_table(compiler, l_.longest_side, l_.d / 2, l_.rope_theta, l_.rope_scale)) {
    const Value& dy = node.value("dy");
    expect_floats(node, dy, "dy");
    expect(node, has_shape(dy, {l_.batch, l_.q_tokens, l_.channels()}),
           "dy: expected (batch, queries, channels)");
    s_.type = node.value("q").dtype;
    s_.q = node.value("q").elements();
    s_.k = k_ >= 0 ? node.value("k").elements() : 0;
    s_.v = s_.k;
    s_.tokens = l_.q_tokens;
    s_.heads = l_.heads;
    s_.queries = l_.batch * l_.heads * l_.q_tokens;
    s_.d = l_.d;
    s_.key_rows = l_.rel_sizes[2];
    s_.key_columns = l_.rel_sizes[3];
    for (int i = 0; i < l_.segment_count; ++i) {
      longest_q_ = larger(longest_q_, l_.segments[i].q_count);
      longest_k_ = larger(longest_k_, l_.segments[i].k_count);
    }
    if (l_.packed || node.has("rel_h")) return;
    if (longest_q_ <= kFew) s_.key_chunks = static_cast<int>(divide_up(longest_k_, kChunk));
    if (longest_k_ <= kFew) s_.query_chunks = static_cast<int>(divide_up(longest_q_, kChunk));
  }

  const Layout& layout() const { return l_; }
  const GradientSizes& sizes() const { return s_; }
  int64_t longest_keys() const { return longest_k_; }

  struct Prepared {
    GradientMemory memory;
    SequenceCall call;  // with the operands; not cut yet
    GradientCall g;
  };
  Prepared prepare(const Run& run, int64_t rest) const {
    Prepared p{plan_gradient(s_, run.workspace, rest, nullptr), {}, {}};
    p.call.layout = l_;
    p.call.lengths = run.in<int32_t>(lengths_);
    p.call.q = gradient_operand(run, q_, s_, s_.q, p.memory.q);
    p.call.k = gradient_operand(run, k_, s_, s_.k, p.memory.k);
    p.call.v = gradient_operand(run, v_, s_, s_.v, p.memory.v);
    const GradientOperands given{rope_of(table_, l_.d / 2), run.in<float>(rel_h_),
                                 run.in<float>(rel_w_), run.in(dy_), dy_type_};
    p.g = prepare_gradient<SequenceF32>(run, s_, p.memory, given,
                                        cut(p.call, plain_queries(s_.d), s_.key_chunks));
    p.g.q = p.call.q;
    p.g.k = l_.packed ? p.call.q : p.call.k;
    p.g.v = l_.packed ? p.call.q : p.call.v;
    p.g.k_at = l_.packed ? 0 : s_.q;
    p.g.v_at = l_.packed ? 0 : s_.q + s_.k;
    return p;
  }

  // Units of some of the queries, and one of so many chunks of keys.
  Cut<SequenceCall> cut(SequenceCall call, int64_t queries, int chunks) const {
    call.query_block = static_cast<int>(queries);
    call.chunk = chunks > 1 ? kChunk : longest_k_;
    call.chunks = chunks;
    for (int i = 0; i < l_.segment_count; ++i)
      call.blocks += divide_up(l_.segments[i].q_count, queries);
    return {call, l_.batch * l_.heads * call.blocks * chunks};
  }
  Cut<SequenceCall> whole(const SequenceCall& call) const { return cut(call, longest_q_, 1); }

  // Of queries or keys.
  static constexpr int kFew = 128, kChunk = 256;

 private:
  Layout l_;
  int q_, k_, v_, lengths_, rel_h_, rel_w_, dy_;
  DType dy_type_;
  SharedBlock table_;
  GradientSizes s_{};
  int64_t longest_q_ = 1, longest_k_ = 1;
};

}  // namespace hrsam::cuda

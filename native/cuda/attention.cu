// Attention of any queries to any keys; the logits are never stored as a whole. See attention/.
//
// Where a few queries face many keys, as in a mask decoder, the keys are cut into chunks, each with
// its own online softmax, that are merged in order; else a block passes all keys of its queries.
// That is decided by the shape of an item alone, so a result does not depend on the rest of the
// batch.
#include "attention/forward_setup.h"
#include "attention/plain.h"
#include "attention/start.h"
#include "attention/tensor.h"
#include "carver.h"
#include "hopper/launch.h"

namespace hrsam::cuda {

namespace {

constexpr int64_t kFewQueries = 128;
constexpr int64_t kChunk = 512;

int64_t units_of(const SequenceCall& call) {
  return call.layout.batch * call.layout.heads * call.blocks * call.chunks;
}

// How queries, and keys where the queries are few, are dealt out to units.
SequenceCall cut_sequences(const Node& node, const Layout& l, bool tensor) {
  SequenceCall call{};
  call.layout = l;
  call.query_block = tensor ? kTensorQueries : plain_queries(l.d);
  int64_t longest = 1;
  for (int i = 0; i < l.segment_count; ++i) {
    call.blocks += divide_up(l.segments[i].q_count, call.query_block);
    longest = larger(longest, l.segments[i].k_count);
  }
  const bool cut = l.q_tokens <= kFewQueries && longest > 2 * kChunk;
  call.chunk = cut ? kChunk : longest;
  call.chunks = divide_up(longest, call.chunk);
  if (longest > INT32_MAX || units_of(call) > INT32_MAX)
    node.fail("ERR_SHAPE", "q, k: too many tokens");
  return call;
}

struct Sizes {
  int64_t queries;       // of all heads and items
  int64_t products;      // with relative positions
  int64_t parts;         // of queries: one for each chunk, none where keys are not cut
  int64_t converted[3];  // elements of q, k, v where heads of bf16 fit no tensor core
};

Sizes sizes_of(const Node& node, const SequenceCall& call, bool tensor) {
  const Layout& l = call.layout;
  Sizes s{};
  s.queries = l.batch * l.heads * l.q_tokens;
  s.products = s.queries * (l.rel_sizes[2] + l.rel_sizes[3]);
  s.parts = call.chunks > 1 ? s.queries * call.chunks : 0;
  const char* const names[] = {"q", "k", "v"};
  for (int i = 0; i < 3 && node.value("q").dtype == DType::bf16 && !tensor; ++i)
    if (node.has(names[i])) s.converted[i] = node.value(names[i]).elements();
  return s;
}

// The op's own memory.
struct Workspace {
  float *products, *statistics, *sums;
  float* converted[3];
};

Workspace plan_attention(const Sizes& s, int d, void* memory, size_t* bytes) {
  Carver carver(memory);
  Workspace w{};
  w.products = carver.take<float>(s.products);
  w.statistics = carver.take<float>(s.parts * 2);
  w.sums = carver.take<float>(s.parts * d);
  for (int i = 0; i < 3; ++i) w.converted[i] = carver.take<float>(s.converted[i]);
  if (bytes != nullptr) *bytes = carver.bytes();
  return w;
}

template <class T>
void attend(cudaStream_t stream, const SequenceCall& call, const Relative& relative,
            AttendCall at) {
  const int64_t units = units_of(call);
  add_bias<SequenceUnit<T>, T>(stream, call, units, relative, at);
  if constexpr (sizeof(T) == sizeof(bf16)) {
    if (hopper_attention(stream, call, units, at)) return;
    tensor_attention(stream, call, units, at);
  } else {
    plain_attention(stream, call, units, at);
  }
}

}  // namespace

Op* compile_attention(const Node& node, Compiler& compiler) {
  const Layout l = read_forward_attention(node);
  const DType type = node.value("q").dtype;
  const bool tensor = type == DType::bf16 && tensor_fits(node, {"q", "k", "v"}, l.d, l.row());
  const SequenceCall call = cut_sequences(node, l, tensor);
  AttendCall at = attend_call(node, l.d, l.rel_sizes[2], l.rel_sizes[3]);
  at.partials.chunks = call.chunks;

  const Sizes s = sizes_of(node, call, tensor);
  size_t workspace = 0;
  plan_attention(s, l.d, nullptr, &workspace);
  const SharedBlock table =
      rope_table(compiler, l.longest_side, l.d / 2, l.rope_theta, l.rope_scale);
  return make_op(
      workspace, [=, q = node.operand("q"), k = node.operand_or("k"), v = node.operand_or("v"),
                  lengths = node.operand_or("lengths"), rel_h = node.operand_or("rel_h"),
                  rel_w = node.operand_or("rel_w")](const Run& run) {
        const Workspace w = plan_attention(s, l.d, run.workspace, nullptr);
        SequenceCall seen = call;
        seen.q = operand_of(run, q, type, s.converted[0], w.converted[0]);
        seen.k = operand_of(run, k, type, s.converted[1], w.converted[1]);
        seen.v = operand_of(run, v, type, s.converted[2], w.converted[2]);
        seen.lengths = run.in<int32_t>(lengths);
        AttendCall how = at;
        how.rope = rope_of(table, l.d / 2);
        how.out = run.out();
        if (s.parts > 0) {
          how.partials.statistics = w.statistics;
          how.partials.sums = w.sums;
        }
        const Relative relative{run.in<float>(rel_h), run.in<float>(rel_w), w.products};
        (tensor ? attend<bf16> : attend<float>)(run.stream, seen, relative, how);
        if (s.parts > 0)
          each(run.stream, s.queries * l.d,
               MergeChunks{how.partials, how.out, how.out_is_bf16, l.q_tokens, l.heads, l.d});
      });
}

}  // namespace hrsam::cuda

// Attention of any queries to any keys; the logits are never stored as a whole. See attention/.
//
// Where a few queries face many keys, as in a mask decoder, the keys are cut into chunks, each with
// its own online softmax, that are merged in order; else a block passes all keys of its queries.
// That is decided by the shape of an item alone, so a result does not depend on the rest of the
// batch.
#include <cmath>

#include "attention/bias.h"
#include "attention/plain.h"
#include "attention/tensor.h"
#include "carver.h"
#include "convert.h"
#include "hopper/launch.h"

namespace hrsam::cuda {

namespace {

constexpr int64_t kFewQueries = 128;
constexpr int64_t kChunk = 512;

// The op's own memory.
struct AttentionWorkspace {
  float *products, *statistics, *sums;
  float* converted[3];  // q, k, v where heads of bf16 fit no tensor core
};

}  // namespace

Op* compile_attention(const Node& node, Compiler& compiler) {
  const Layout l = read_attention(node);
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {l.batch, l.q_tokens, l.channels()}),
         "result: expected (batch, queries, channels)");
  const DType type = node.value("q").dtype;
  const bool tensor = type == DType::bf16 && tensor_fits(l.d, l.row());

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
  const int64_t units = l.batch * l.heads * call.blocks * call.chunks;
  if (longest > INT32_MAX || units > INT32_MAX) node.fail("ERR_SHAPE", "q, k: too many tokens");

  AttendCall at{};
  at.d = l.d;
  at.scale = kLog2E / std::sqrt(static_cast<float>(l.d));
  at.out_is_bf16 = node.result().dtype == DType::bf16;
  at.bias.rows = l.rel_sizes[2];
  at.bias.columns = l.rel_sizes[3];
  at.partials.chunks = call.chunks;
  const int64_t queries = l.batch * l.heads * l.q_tokens;
  const int64_t products = queries * (at.bias.rows + at.bias.columns);
  int64_t converted[3] = {};
  const char* const names[] = {"q", "k", "v"};
  for (int i = 0; i < 3 && type == DType::bf16 && !tensor; ++i)
    if (node.has(names[i])) converted[i] = node.value(names[i]).elements();
  const auto plan = [=](void* memory, size_t* bytes) {
    Carver carver(memory);
    AttentionWorkspace w{};
    w.products = carver.take<float>(products);
    w.statistics = carver.take<float>(cut ? queries * call.chunks * 2 : 0);
    w.sums = carver.take<float>(cut ? queries * call.chunks * l.d : 0);
    for (int i = 0; i < 3; ++i) w.converted[i] = carver.take<float>(converted[i]);
    if (bytes != nullptr) *bytes = carver.bytes();
    return w;
  };
  size_t workspace = 0;
  plan(nullptr, &workspace);
  const SharedBlock table =
      rope_table(compiler, l.longest_side, l.d / 2, l.rope_theta, l.rope_scale);
  return make_op(
      workspace, [=, q = node.operand("q"), k = node.operand_or("k"), v = node.operand_or("v"),
                  lengths = node.operand_or("lengths"), rel_h = node.operand_or("rel_h"),
                  rel_w = node.operand_or("rel_w")](const Run& run) {
        const AttentionWorkspace w = plan(run.workspace, nullptr);
        SequenceCall seen = call;
        const void* rows[] = {run.in(q), run.in(k), run.in(v)};
        for (int i = 0; i < 3; ++i) {
          if (converted[i] == 0) continue;
          convert(run.stream, rows[i], type, w.converted[i], DType::f32, converted[i]);
          rows[i] = w.converted[i];
        }
        seen.q = rows[0];
        seen.k = rows[1];
        seen.v = rows[2];
        seen.lengths = run.in<int32_t>(lengths);
        AttendCall how = at;
        how.rope = rope_of(table, l.d / 2);
        how.out = run.out();
        if (cut) {
          how.partials.statistics = w.statistics;
          how.partials.sums = w.sums;
        }
        const auto attend = [&](auto number) {
          using T = decltype(number);
          if (rel_h >= 0) {
            launch({dim3(static_cast<unsigned>(units)), dim3(kBiasThreads), 0, run.stream},
                   bias_products_kernel<SequenceUnit<T>, T>, seen, how.rope, at.bias,
                   run.in<float>(rel_h), run.in<float>(rel_w), w.products, l.d);
            how.bias.products = w.products;
          }
          if constexpr (sizeof(T) == sizeof(bf16)) {
            if (hopper_attention(run.stream, seen, units, how)) return;
            tensor_attention<SequenceUnit<bf16>, false>(run.stream, seen, units, how);
          } else {
            plain_attention<SequenceUnit<float>>(run.stream, seen, units, how);
          }
        };
        tensor ? attend(bf16{}) : attend(float{});
        if (cut)
          each(run.stream, queries * l.d,
               MergeChunks{how.partials, how.out, how.out_is_bf16, l.q_tokens, l.heads, l.d});
      });
}

}  // namespace hrsam::cuda

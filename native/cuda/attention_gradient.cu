// Gradients of attention's q, k and v, one after the other. See attention/gradient.h.
#include "add_parts.h"
#include "attention/sequence_gradient.h"

namespace hrsam::cuda {

namespace {

struct Clear {
  NumbersOut out;
  HRSAM_DEVICE void operator()(int64_t i) const { out.put(i, 0); }
};

}  // namespace

Op* compile_attention_gradient(const Node& node, Compiler& compiler) {
  const SequenceGradient setup(node, compiler);
  const GradientSizes& s = setup.sizes();
  const DType type = node.result().dtype;
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {s.q + s.k + s.v}),
         "result: expected a list of all gradients");
  size_t workspace = 0;
  plan_gradient(s, nullptr, 0, &workspace);
  if (s.queries == 0)  // no unit of queries either, which keys' gradients could come from
    return make_op([type, n = node.result().elements()](const Run& run) {
      each(run.stream, n, Clear{numbers_to(run.out(), type)});
    });
  return make_op(workspace, [=](const Run& run) {
    auto [memory, call, g] = setup.prepare(run, 0);
    const Layout& l = setup.layout();
    g.out = numbers_to(run.out(), type);
    const GradientSizes& sizes = setup.sizes();
    GradientCall part = g;
    if (sizes.key_chunks > 1) {
      part.parts = memory.parts;
      part.part_size = sizes.q;
    }
    const Cut<SequenceCall> queries = setup.cut(call, gradient_owned(l.d), sizes.key_chunks);
    query_gradient(run.stream, queries.call, queries.units, part);
    if (sizes.key_chunks > 1)
      each(run.stream, sizes.q, AddParts{memory.parts, sizes.key_chunks, sizes.q, g.out});

    const Cut<SequenceCall> keys = setup.whole(call);
    g.item_units = keys.units / larger(1, l.batch);
    g.items = l.shared_keys ? l.batch : 1;
    const int64_t both = sizes.k + sizes.v;
    if (sizes.query_chunks > 1) {
      g.query_chunks = sizes.query_chunks;
      g.query_chunk = SequenceGradient::kChunk;
      g.parts = memory.parts;
      g.part_size = both;
      g.k_at = 0;
      g.v_at = sizes.k;
    }
    key_gradient(run.stream, keys.call, l.shared_keys ? g.item_units : keys.units,
                 setup.longest_keys(), g);
    if (sizes.query_chunks > 1)
      each(run.stream, both, AddParts{memory.parts, sizes.query_chunks, both, g.out, sizes.q});
  });
}

}  // namespace hrsam::cuda

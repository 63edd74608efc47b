// Gradients of attention's relative position tables, rel_h then rel_w. See attention/gradient.h.
#include "attention/sequence_gradient.h"

namespace hrsam::cuda {

Op* compile_attention_relative_gradient(const Node& node, Compiler& compiler) {
  const SequenceGradient setup(node, compiler);
  const Layout& layout = setup.layout();
  expect(node, node.has("rel_h"), "rel_h, rel_w: missing");
  const int* sizes = layout.rel_sizes;
  const int64_t count = (int64_t{sizes[0]} * sizes[2] + int64_t{sizes[1]} * sizes[3]) * layout.d;
  expect_f32(node, node.result(), "result");
  expect(node, has_shape(node.result(), {count}), "result: expected the tables' gradients");
  size_t workspace = 0;
  plan_gradient(setup.sizes(), nullptr, 0, &workspace);
  return make_op(workspace, [=](const Run& run) {
    const auto [memory, call, g] = setup.prepare(run, 0);
    const Layout& l = setup.layout();
    const Cut<SequenceCall> queries = setup.cut(call, gradient_owned(l.d), 1);
    query_gradient(run.stream, queries.call, queries.units, g);
    const Cut<SequenceCall> whole = setup.whole(call);
    each(run.stream, count,
         TableGradient<SequenceF32>{whole.call, g, whole.units, l.rel_sizes[0], l.rel_sizes[1],
                                    run.out<float>()});
  });
}

}  // namespace hrsam::cuda

// Gradients of window attention's relative position tables, rel_h then rel_w. See
// attention/gradient.h.
#include "attention/window_gradient.h"

namespace hrsam::cuda {

Op* compile_window_attention_relative_gradient(const Node& node, Compiler& compiler) {
  const WindowGradient setup(node, compiler);
  const Geometry& geometry = setup.geometry();
  expect(node, node.has("rel_h"), "rel_h, rel_w: missing");
  expect_f32(node, node.result(), "result");
  expect(node, has_shape(node.result(), {2, geometry.window, geometry.window, geometry.d}),
         "result: expected the tables' gradients");
  size_t workspace = 0;
  plan_gradient(setup.sizes(), nullptr, 0, &workspace);
  return make_op(workspace, [=, count = node.result().elements()](const Run& run) {
    const auto [memory, call, g] = setup.prepare(run, 0);
    const int window = setup.geometry().window;
    const Cut<WindowCall> queries = setup.cut(call, gradient_owned(setup.sizes().d));
    query_gradient(run.stream, queries.call, queries.units, g);
    const Cut<WindowCall> whole = setup.whole(call);
    each(run.stream, count,
         TableGradient<WindowF32>{whole.call, g, whole.units, window, window, run.out<float>()});
  });
}

}  // namespace hrsam::cuda

// Attention inside windows, straight from the tokens' qkv rows to the tokens' output rows. See
// attention/.
//
// A unit is one head of one window. Its rows are gathered through an index map that knows shift and
// padding: a padded position reads the one constant qkv row, its query is not run, and no pass over
// memory partitions, rolls, pads or undoes it. Rotary embedding is applied on the way in, with
// coordinates local to the window (only differences matter).
#include <cmath>

#include "attention/bias.h"
#include "attention/plain.h"
#include "attention/tensor.h"
#include "carver.h"
#include "convert.h"
#include "hopper/launch.h"

namespace hrsam::cuda {

namespace {

// The op's own memory.
struct WindowWorkspace {
  float *products, *qkv, *pad;
};

}  // namespace

Op* compile_window_attention(const Node& node, Compiler& compiler) {
  const Geometry g = read_window_attention(node);
  const Value& value = node.value("qkv");
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {value.dim(0), g.tokens, value.dim(2) / 3}),
         "result: not (batch, tokens, channels)");
  const DType type = value.dtype;
  const int count = g.window * g.window;

  WindowCall call{};
  call.geometry = g;
  call.heads = static_cast<int>(node.integer("heads"));
  const int64_t row = 3 * static_cast<int64_t>(call.heads) * g.d;
  const bool tensor =
      type == DType::bf16 && tensor_fits(g.d, row) && count <= kWholeTiles * kTensorKeys;
  // Where a window's keys do not fit the chip, they take turns.
  const bool whole = tensor && whole_shared_bytes(g.d) <= compiler.shared_bytes();
  call.query_block = whole ? count : tensor ? kTensorQueries : plain_queries(g.d);
  const int64_t items = value.dim(0);
  const int64_t units = items * g.windows * call.heads * divide_up(count, call.query_block);
  if (units > INT32_MAX) node.fail("ERR_SHAPE", "qkv: too many windows");

  const bool relative = node.has("rel_h");
  AttendCall at{};
  at.d = g.d;
  at.scale = kLog2E / std::sqrt(static_cast<float>(g.d));
  at.out_is_bf16 = node.result().dtype == DType::bf16;
  at.bias.rows = at.bias.columns = relative ? g.window : 0;
  const int64_t products = value.dim(0) * call.heads * g.tokens * 2 * at.bias.rows;
  // Where heads of bf16 fit no tensor core.
  const int64_t converted = type == DType::bf16 && !tensor ? value.elements() : 0;
  const auto plan = [=](void* memory, size_t* bytes) {
    Carver carver(memory);
    WindowWorkspace w{};
    w.products = carver.take<float>(products);
    w.qkv = carver.take<float>(converted);
    w.pad = carver.take<float>(converted > 0 ? row : 0);
    if (bytes != nullptr) *bytes = carver.bytes();
    return w;
  };
  size_t workspace = 0;
  plan(nullptr, &workspace);
  const SharedBlock table =
      rope_table(compiler, g.window, g.d / 2, node.number("rope_theta"), node.number("rope_scale"));
  return make_op(workspace, [=, qkv = node.operand("qkv"), pad = node.operand_or("pad"),
                             rel_h = node.operand_or("rel_h"),
                             rel_w = node.operand_or("rel_w")](const Run& run) {
    const WindowWorkspace w = plan(run.workspace, nullptr);
    WindowCall seen = call;
    seen.qkv = run.in(qkv);
    seen.pad = run.in(pad);
    if (converted > 0) {
      convert(run.stream, seen.qkv, type, w.qkv, DType::f32, converted);
      seen.qkv = w.qkv;
      if (seen.pad != nullptr) convert(run.stream, seen.pad, type, w.pad, DType::f32, row);
      if (seen.pad != nullptr) seen.pad = w.pad;
    }
    AttendCall how = at;
    how.rope = rope_of(table, g.d / 2);
    how.out = run.out();
    const auto attend = [&](auto number) {
      using T = decltype(number);
      if (relative) {
        launch({dim3(static_cast<unsigned>(units)), dim3(kBiasThreads), 0, run.stream},
               bias_products_kernel<WindowUnit<T>, T>, seen, how.rope, at.bias,
               run.in<float>(rel_h), run.in<float>(rel_w), w.products, g.d);
        how.bias.products = w.products;
      }
      if constexpr (sizeof(T) == sizeof(bf16)) {
        if (hopper_window_attention(run.stream, seen, items, how)) return;
        if (whole)
          tensor_attention<WindowUnit<bf16>, true>(run.stream, seen, units, how);
        else
          tensor_attention<WindowUnit<bf16>, false>(run.stream, seen, units, how);
      } else {
        plain_attention<WindowUnit<float>>(run.stream, seen, units, how);
      }
    };
    tensor ? attend(bf16{}) : attend(float{});
  });
}

}  // namespace hrsam::cuda

// Attention inside windows, straight from the tokens' qkv rows to the tokens' output rows. See
// attention/.
//
// A unit is one head of one window. Its rows are gathered through an index map that knows shift and
// padding: a padded position reads the one constant qkv row, its query is not run, and no pass over
// memory partitions, rolls, pads or undoes it. Rotary embedding is applied on the way in, with
// coordinates local to the window (only differences matter).
#include "attention/forward_setup.h"
#include "attention/plain.h"
#include "attention/start.h"
#include "attention/tensor.h"
#include "carver.h"
#include "hopper/launch.h"

namespace hrsam::cuda {

namespace {

// How a window's queries are dealt out to units.
struct WindowCut {
  WindowCall call{};
  bool tensor;
  int64_t items, units;
  int64_t row() const { return 3 * static_cast<int64_t>(call.heads) * call.geometry.d; }
};

WindowCut cut_windows(const Node& node, const Geometry& g, const Compiler& compiler) {
  const Value& qkv = node.value("qkv");
  const int count = g.window * g.window;
  WindowCut cut;
  cut.call.geometry = g;
  cut.call.heads = static_cast<int>(node.integer("heads"));
  cut.tensor = qkv.dtype == DType::bf16 && tensor_fits(node, {"qkv", "pad"}, g.d, cut.row());
  cut.call.query_block = cut.tensor ? tensor_window_queries(g, compiler) : plain_queries(g.d);
  cut.items = qkv.dim(0);
  cut.units = cut.items * g.windows * cut.call.heads * divide_up(count, cut.call.query_block);
  if (cut.units > INT32_MAX) node.fail("ERR_SHAPE", "qkv: too many windows");
  return cut;
}

struct Sizes {
  int64_t products;        // with relative positions
  int64_t converted, pad;  // elements of qkv and pad where heads of bf16 fit no tensor core
};

// The op's own memory.
struct Workspace {
  float *products, *qkv, *pad;
};

Workspace plan_window_attention(const Sizes& s, void* memory, size_t* bytes) {
  Carver carver(memory);
  Workspace w{};
  w.products = carver.take<float>(s.products);
  w.qkv = carver.take<float>(s.converted);
  w.pad = carver.take<float>(s.pad);
  if (bytes != nullptr) *bytes = carver.bytes();
  return w;
}

template <class T>
void attend(cudaStream_t stream, const WindowCut& cut, const WindowCall& call,
            const Relative& relative, AttendCall at) {
  add_bias<WindowUnit<T>, T>(stream, call, cut.units, relative, at);
  if constexpr (sizeof(T) == sizeof(bf16)) {
    if (hopper_window_attention(stream, call, cut.items, at)) return;
    tensor_attention(stream, call, cut.units, at);
  } else {
    plain_attention(stream, call, cut.units, at);
  }
}

}  // namespace

Op* compile_window_attention(const Node& node, Compiler& compiler) {
  const Geometry g = read_window_attention(node);
  const Value& value = node.value("qkv");
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {value.dim(0), g.tokens, value.dim(2) / 3}),
         "result: not (batch, tokens, channels)");
  const DType type = value.dtype;
  const WindowCut cut = cut_windows(node, g, compiler);
  const int relative_side = node.has("rel_h") ? g.window : 0;
  const AttendCall at = attend_call(node, g.d, relative_side, relative_side);

  const bool converts = type == DType::bf16 && !cut.tensor && value.elements() > 0;
  const Sizes s{cut.items * cut.call.heads * g.tokens * 2 * relative_side,
                converts ? value.elements() : 0, converts ? cut.row() : 0};
  size_t workspace = 0;
  plan_window_attention(s, nullptr, &workspace);
  const SharedBlock table =
      rope_table(compiler, g.window, g.d / 2, node.number("rope_theta"), node.number("rope_scale"));
  return make_op(workspace, [=, qkv = node.operand("qkv"), pad = node.operand_or("pad"),
                             rel_h = node.operand_or("rel_h"),
                             rel_w = node.operand_or("rel_w")](const Run& run) {
    const Workspace w = plan_window_attention(s, run.workspace, nullptr);
    WindowCall seen = cut.call;
    seen.qkv = operand_of(run, qkv, type, s.converted, w.qkv);
    seen.pad = operand_of(run, pad, type, s.pad, w.pad);
    AttendCall how = at;
    how.rope = rope_of(table, g.d / 2);
    how.out = run.out();
    const Relative relative{run.in<float>(rel_h), run.in<float>(rel_w), w.products};
    (cut.tensor ? attend<bf16> : attend<float>)(run.stream, cut, seen, relative, how);
  });
}

}  // namespace hrsam::cuda

// Gradient of window attention: row by row that of qkv, and one more row, the sum over all padded
// positions. See attention/gradient.h.
#include "attention/window_gradient.h"
#include "column_sums.h"

namespace hrsam::cuda {

namespace {

// The padded positions of an item's windows: window · positions + position.
Block padded_positions(const Geometry& g, int64_t* count) {
  const int positions = g.window * g.window;
  Block list(sizeof(int32_t) * static_cast<size_t>(g.windows * positions + 1));
  *count = 0;
  for (int64_t window = 0; g.padded && window < g.windows; ++window) {
    const WindowPlace place = place_window(g, window);
    for (int i = 0; i < positions; ++i)
      if (token_at(g, place, i / g.window, i % g.window).token < 0)
        list.as<int32_t>()[(*count)++] = static_cast<int32_t>(window * positions + i);
  }
  return list;
}

// Rows: padded positions of all items; columns: keys' and values' of the last row of the result.
struct PaddingSum {
  const float* padding;  // [item · window][head][position][2][d]
  const int32_t* places;
  int64_t count;  // of an item's
  int64_t windows, positions, heads, d;
  NumbersOut out;
  int64_t out_at;
  HRSAM_DEVICE float at(int64_t row, int64_t column) const {
    const auto item = static_cast<uint32_t>(row) / static_cast<uint32_t>(count);
    const int32_t place = places[row - item * count];
    const auto window = static_cast<uint32_t>(place) / static_cast<uint32_t>(positions);
    const int64_t channels = heads * d, part = column >= channels ? 1 : 0;
    const auto channel = static_cast<uint32_t>(column - part * channels);
    const uint32_t head = channel / static_cast<uint32_t>(d);
    const int64_t slot = ((item * windows + window) * heads + head) * positions + place -
                         static_cast<int64_t>(window) * positions;
    return padding[(slot * 2 + part) * d + channel - head * d];
  }
  HRSAM_DEVICE void put(int64_t column, float sum) const {
    const int64_t channels = heads * d;
    out.put(out_at + channels + column, sum);
    if (column < channels) out.put(out_at + column, 0);  // nobody wants a padded position's query
  }
};

}  // namespace

Op* compile_window_attention_gradient(const Node& node, Compiler& compiler) {
  const WindowGradient setup(node, compiler);
  const GradientSizes& s = setup.sizes();
  const DType type = node.result().dtype;
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {s.q / s.pad + 1, s.pad}),
         "result: expected the rows of qkv, and one more");
  const Geometry& geometry = setup.geometry();
  int64_t padded = 0;
  const SharedBlock places = compiler.upload(padded_positions(geometry, &padded));
  const int64_t rows = padded * node.value("qkv").dim(0), columns = s.pad / 3 * 2;
  const size_t sums = sum_workspace(rows, columns);
  size_t workspace = 0;
  plan_gradient(s, nullptr, static_cast<int64_t>(sums), &workspace);
  return make_op(workspace, [=](const Run& run) {
    auto [memory, call, g] = setup.prepare(run, static_cast<int64_t>(sums));
    const GradientSizes& sizes = setup.sizes();
    g.out = numbers_to(run.out(), type);
    const int block = sizes.tensor ? kTensorQueries : gradient_owned(sizes.d);
    const Cut<WindowCall> queries = setup.cut(call, block), keys = setup.whole(call);
    if (sizes.tensor) {
      tensor_query_gradient(run.stream, queries.call, queries.units, g);
      tensor_key_gradient(run.stream, keys.call, keys.units, setup.positions(), g);
    } else {
      query_gradient(run.stream, queries.call, queries.units, g);
      key_gradient(run.stream, keys.call, keys.units, setup.positions(), g);
    }
    const PaddingSum padding{memory.padding,
                             places->as<int32_t>(),
                             padded,
                             setup.geometry().windows,
                             setup.positions(),
                             sizes.heads,
                             sizes.d,
                             g.out,
                             sizes.q};
    sum_columns(run.stream, rows, columns, memory.rest, padding);
  });
}

}  // namespace hrsam::cuda

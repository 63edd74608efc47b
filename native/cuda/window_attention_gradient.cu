// Gradient of window attention: row by row that of qkv, and one more row, the sum over all padded
// positions. See attention/gradient.h.
#include "attention/window_gradient.h"
#include "column_sums.h"

namespace hrsam::cuda {

namespace {

// Rows: positions of all windows; columns: the last row of the result.
struct PaddingSum {
  const float* padding;  // [window][head][position][2][d], where there is padding
  Geometry geometry;
  int64_t heads;
  NumbersOut out;
  int64_t out_at;
  HRSAM_DEVICE float at(int64_t row, int64_t column) const {
    const int count = geometry.window * geometry.window, d = geometry.d;
    const int64_t channels = heads * d, window = row / count;
    const int position = static_cast<int>(row % count);
    const int part = static_cast<int>(column / channels) - 1;
    if (part < 0) return 0;  // nobody wants a padded position's query
    const WindowPlace place = place_window(geometry, window % geometry.windows);
    const int i = position / geometry.window, j = position % geometry.window;
    if (token_at(geometry, place, i, j).token >= 0) return 0;
    const int64_t head = column % channels / d;
    const int64_t slot = (window * heads + head) * count + position;
    return padding[(slot * 2 + part) * d + column % d];
  }
  HRSAM_DEVICE void put(int64_t column, float sum) const { out.put(out_at + column, sum); }
};

}  // namespace

Op* compile_window_attention_gradient(const Node& node, Compiler& compiler) {
  const WindowGradient setup(node, compiler);
  const GradientSizes& s = setup.sizes();
  const DType type = node.result().dtype;
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {s.q / s.pad + 1, s.pad}),
         "result: expected the rows of qkv, and one more");
  const int64_t rows = setup.geometry().padded ? setup.windows() * setup.positions() : 0;
  const size_t sums = sum_workspace(rows, s.pad);
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
    sum_columns(run.stream, rows, sizes.pad, memory.rest,
                PaddingSum{memory.padding, setup.geometry(), sizes.heads, g.out, sizes.q});
  });
}

}  // namespace hrsam::cuda

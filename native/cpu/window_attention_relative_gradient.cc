// Gradients of rel_h and rel_w of window attention: (2, window, window, channels of a head).
//
// First, unit by unit as in the forward pass, every query's logit gradients are summed over the
// rows and the columns of its window. Then each (axis, row or column of queries) is one task that
// adds up sums ⊗ query over all items, windows and heads, in that order.
#include "relative_gradient.h"
#include "window_gradient.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class WindowRelativeGradient : public WindowGradient {
 public:
  WindowRelativeGradient(const Node& node, Compiler& compiler)
      : WindowGradient(node, compiler, false) {
    const int64_t window = geometry_.window;
    expect(node, rel_h_ >= 0, "rel_h, rel_w: missing");
    expect_f32(node, node.result(), "result");
    expect(node, has_shape(node.result(), {2, window, window, d_}),
           "result: expected (2, window, window, channels of a head)");
    sums_ = Block(sizeof(float) * static_cast<size_t>(batch_ * geometry_.tokens * heads_) *
                  static_cast<size_t>(2 * window));
    compiler.pool.reserve(table_plan(nullptr).bytes);
  }

  void run(const Run& run) const override {
    prepare(run);
    const int window = geometry_.window;
    run.pool.each(units(), [&](int64_t index, int thread) {
      const Unit unit = unit_at(index);
      Scratch s = plan(run.pool.scratch(thread));
      attend_window(run, unit, s, [&](int query, const float* ds, float*) {
        float* down = sums_of(unit, s.window.tokens[s.positions[query]]);
        for (int i = 0; i < 2 * window; ++i) down[i] = 0;
        add_axis_sums(ds, 0, window * window, window, down, down + window);
      });
    });
    run.pool.each(2 * window, [&](int64_t index, int thread) {
      sum_queries(run, static_cast<int>(index / window), static_cast<int>(index % window), thread);
    });
  }

 private:
  struct TableScratch {
    Window window;
    TableRow row;
    size_t bytes;
  };
  TableScratch table_plan(void* memory) const {
    const int count = geometry_.window * geometry_.window;
    Carver carver(memory);
    TableScratch s;
    s.window.tokens = carver.take<int32_t>(count);
    s.window.regions = carver.take<int8_t>(count);
    s.row = TableRow::plan(carver, geometry_.window, head().width());
    s.bytes = carver.bytes();
    return s;
  }
  // A query's sums over rows, then over columns.
  float* sums_of(const Unit& unit, int64_t token) const {
    return sums_.as<float>() +
           ((unit.item * geometry_.tokens + token) * heads_ + unit.head) * 2 * geometry_.window;
  }

  // Row `line` of rel_h (axis 0) or rel_w (axis 1).
  void sum_queries(const Run& run, int axis, int line, int thread) const {
    TableScratch s = table_plan(run.pool.scratch(thread));
    const int window = geometry_.window;
    s.row.begin();
    for (int64_t index = 0; index < units(); ++index) {
      const Unit unit = unit_at(index);
      if (unit.head == 0) map_window(geometry_, unit.window, s.window);
      for (int i = 0; i < window; ++i) {
        const int position = axis == 0 ? line * window + i : i * window + line;
        const int64_t token = s.window.tokens[position];
        if (token >= 0)
          load_query(run, unit, position, token, s.row.add(sums_of(unit, token) + axis * window));
      }
    }
    s.row.finish(d_, run.out<float>() + (int64_t{axis} * window + line) * window * d_);
  }

  Block sums_;  // [item][token][head][2 window]
};

}  // namespace

Op* compile_window_attention_relative_gradient(const Node& node, Compiler& compiler) {
  return new WindowRelativeGradient(node, compiler);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// Gradients of attention's rel_h (rows of queries, rows of keys, d) and rel_w (columns of queries,
// columns of keys, d), one after the other in one list.
//
// First every query's logit gradients are summed over the rows and the columns of keys. Then each
// (axis, row or column of queries) is one task that adds up sums ⊗ query over all items and heads,
// in that order.
#include "attention_gradient.h"
#include "relative_gradient.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class AttentionRelativeGradient : public AttentionGradientOp {
 public:
  AttentionRelativeGradient(const Node& node, Compiler& compiler)
      : AttentionGradientOp(node, compiler) {
    const Layout& l = layout_;
    expect(node, bool{bias_}, "rel_h, rel_w: missing");
    expect_f32(node, node.result(), "result");
    expect(node, has_shape(node.result(), {table_rows(0) * l.d + table_rows(1) * l.d}),
           "result: expected a list of both gradients");
    sums_ = Block(sizeof(float) * static_cast<size_t>(l.batch * l.heads * l.q_tokens) *
                  static_cast<size_t>(rel_numbers()));
    for (const int axis : {0, 1}) {
      Carver carver(nullptr);
      TableRow::plan(carver, l.rel_sizes[2 + axis], head().width());
      compiler.pool.reserve(carver.bytes());
    }
  }

  void run(const Run& run) const override {
    prepare(run);
    run.pool.each(units(), [&](int64_t index, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      sum_logit_gradients(run, unit_at(index), s);
    });
    const int q_rows = layout_.rel_sizes[0], q_columns = layout_.rel_sizes[1];
    run.pool.each(q_rows + q_columns, [&](int64_t line, int thread) {
      const bool down = line < q_rows;
      Carver carver(run.pool.scratch(thread));
      TableRow row = TableRow::plan(carver, layout_.rel_sizes[down ? 2 : 3], head().width());
      if (down)
        sum_queries(run, 0, line, line * q_columns, 1, q_columns, row);
      else
        sum_queries(run, 1, line - q_rows, line - q_rows, q_columns, q_rows, row);
    });
  }

 private:
  int64_t table_rows(int axis) const {
    return int64_t{layout_.rel_sizes[axis]} * layout_.rel_sizes[2 + axis];
  }

  void sum_logit_gradients(const Run& run, const Unit& unit, Scratch& s) const {
    const int rows = layout_.rel_sizes[2], columns = layout_.rel_sizes[3];
    float* sums = sums_.as<float>() + query_index(unit) * rel_numbers();
    memset(sums, 0, sizeof(float) * static_cast<size_t>(unit.count) * rel_numbers());
    load_queries(run, unit, s);
    const int64_t keys = keys_of(run, unit.item, segment(unit));
    for (int64_t first = 0; first < keys; first += kKeys) {
      load_keys(run, segment(unit), layout_.shared_keys ? 0 : unit.item, unit.head, first,
                static_cast<int>(smaller(kKeys, keys - first)), s);
      Scratch without = s;
      without.keys.dk = without.keys.dv = nullptr;
      attend(unit, first, without, [&](int i, const float* ds, float*) {
        float* down = sums + i * rel_numbers();
        add_axis_sums(ds, first, s.keys.count, columns, down, down + rows);
      });
    }
  }

  // Row `line` of a table, from `count` queries of each head: first, first + step, …
  void sum_queries(const Run& run, int axis, int64_t line, int64_t first, int step, int count,
                   TableRow& row) const {
    const Layout& l = layout_;
    row.begin();
    for (int64_t item = 0; item < l.batch; ++item)
      for (int64_t head_index = 0; head_index < l.heads; ++head_index)
        for (int i = 0; i < count; ++i) {
          const Unit query{0, item, head_index, first + int64_t{i} * step, 1};
          const float* sums = sums_.as<float>() + query_index(query) * rel_numbers();
          load_query(run, query, 0, row.add(sums + (axis == 0 ? 0 : l.rel_sizes[2])));
        }
    row.finish(l.d, run.out<float>() + (axis == 0 ? 0 : table_rows(0) * l.d) +
                        line * l.rel_sizes[2 + axis] * l.d);
  }

  Block sums_;  // [item][head][query][rows of keys, then columns]
};

}  // namespace

Op* compile_attention_relative_gradient(const Node& node, Compiler& compiler) {
  return new AttentionRelativeGradient(node, compiler);
}

}  // namespace hrsam::cpu::HRSAM_ISA

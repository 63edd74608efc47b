// Gradient of window attention: (batch · tokens + 1, 3 channels), the gradient of qkv row by row
// and then that of the padding row, summed over all padded positions.
//
// A unit of work is one head of one window of one item, as in the forward pass. A token is in one
// window, so its row is written once; padded positions have gradients as keys and values only, and
// each unit leaves their sum in a row of its own, which are added up in order at the end.
#include "relative_gradient.h"
#include "window_gradient.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class WindowAttentionGradient : public WindowGradient {
 public:
  WindowAttentionGradient(const Node& node, Compiler& compiler)
      : WindowGradient(node, compiler, true), out_type_(node.result().dtype) {
    expect_floats(node, node.result(), "result");
    expect(node, has_shape(node.result(), {rows() + 1, 3 * int64_t{channels_}}),
           "result: expected (batch · tokens + 1, 3 channels)");
    pads_ = Block(sizeof(float) * static_cast<size_t>(batch_ * geometry_.windows) *
                  static_cast<size_t>(2 * channels_));
  }

  void run(const Run& run) const override {
    prepare(run);
    run.pool.each(units(),
                  [&](int64_t index, int thread) { differentiate(run, unit_at(index), thread); });
    add_pads(run);
  }

 private:
  int64_t rows() const { return batch_ * geometry_.tokens; }
  float* pad_sums(const Unit& unit) const {
    return pads_.as<float>() + (unit.item * geometry_.windows + unit.window) * 2 * channels_;
  }

  void differentiate(const Run& run, const Unit& unit, int thread) const {
    Scratch s = plan(run.pool.scratch(thread));
    const int window = geometry_.window, count = window * window, width = sums_width();
    const auto store_part = [&](int position, int64_t token, int part, const float* sums,
                                float factor) {
      const float* row = part < 2 ? rope_row(position) : nullptr;
      turn_row_back(sums, d_, row, row == nullptr ? nullptr : rope_column(position), factor, s.row);
      const int64_t at = (unit.item * geometry_.tokens + token) * 3 * channels_;
      store_row(s.row, d_, run.result, out_type_, at + part * channels_ + unit.head * d_);
    };
    const auto store_query = [&](int query, const float* dq) {
      const int position = s.positions[query];
      store_part(position, s.window.tokens[position], 0, dq, scale());
    };
    if (half_)
      attend_window_half(run, unit, s, store_query);
    else
      attend_window(run, unit, s, [&](int query, const float* ds, float* dq) {
        if (bias_) add_relative(run, s.positions[query], ds, dq, s);
        store_query(query, dq);
      });
    float* pads = pad_sums(unit) + unit.head * d_;
    for (int c = 0; c < d_; ++c) pads[c] = pads[channels_ + c] = 0;
    for (int position = 0; position < count; ++position) {
      const int64_t token = s.window.tokens[position];
      const float *dk = s.keys.dk + int64_t{position} * width,
                  *dv = s.keys.dv + int64_t{position} * width;
      if (token >= 0) {
        store_part(position, token, 1, dk, 1 / kLog2E);
        store_part(position, token, 2, dv, 1);
      } else {
        turn_row_back(dk, d_, rope_row(position), rope_column(position), 1 / kLog2E, s.row);
        for (int c = 0; c < d_; ++c) {
          pads[c] += s.row[c];
          pads[channels_ + c] += dv[c];
        }
      }
    }
  }

  // What a query's gradient gets through rel_h and rel_w.
  void add_relative(const Run& run, int position, const float* ds, float* dq, Scratch& s) const {
    const int window = geometry_.window;
    float down[kMaxWindow] = {}, across[kMaxWindow] = {};
    add_axis_sums(ds, 0, window * window, window, down, across);
    const int64_t table = int64_t{window} * d_;
    add_table_rows(down, window, run.in<float>(rel_h_) + position / window * table, d_, 1 / scale(),
                   dq);
    add_table_rows(across, window, run.in<float>(rel_w_) + position % window * table, d_,
                   1 / scale(), dq);
  }

  void add_pads(const Run& run) const {
    const int64_t windows = batch_ * geometry_.windows, width = 2 * int64_t{channels_};
    const int64_t at = rows() * 3 * channels_;
    each_block(run.pool, channels_ + width, windows * 4, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) {
        float sum = 0;  // of no query: padded ones do not run
        for (int64_t i = 0; c >= channels_ && i < windows; ++i)
          sum += pads_.as<float>()[i * width + c - channels_];
        store_row(&sum, 1, run.result, out_type_, at + c);
      }
    });
  }

  DType out_type_;
  Block pads_;  // [item, window][dk, dv of all heads]
};

}  // namespace

Op* compile_window_attention_gradient(const Node& node, Compiler& compiler) {
  return new WindowAttentionGradient(node, compiler);
}

}  // namespace hrsam::cpu::HRSAM_ISA

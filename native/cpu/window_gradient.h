// What the gradients of window attention share: one head of one window, gathered and attended
// again.
#pragma once

#include <initializer_list>

#include "../plan/window_geometry.h"
#include "attention_gradient_half.h"
#include "relative_bias.h"

namespace hrsam::cpu::HRSAM_ISA {

class WindowGradient : public Op {
 protected:
  // wants_keys: whether the gradients of keys and values are wanted.
  WindowGradient(const Node& node, Compiler& compiler, bool wants_keys)
      : geometry_(read_window_attention(node)),
        qkv_(node.operand("qkv")),
        pad_(node.operand_or("pad")),
        dy_(node.operand("dy")),
        rel_h_(node.operand_or("rel_h")),
        rel_w_(node.operand_or("rel_w")),
        batch_(node.value("qkv").dim(0)),
        channels_(static_cast<int>(node.value("qkv").dim(2) / 3)),
        d_(geometry_.d),
        heads_(channels_ / d_),
        type_(node.value("qkv").dtype),
        dy_type_(node.value("dy").dtype),
        half_(kHalfProducts && wants_keys && rel_h_ < 0 && type_ == DType::bf16 &&
              dy_type_ == DType::bf16),
        wants_keys_(wants_keys) {
    expect_floats(node, node.value("dy"), "dy");
    expect(node, has_shape(node.value("dy"), {batch_, geometry_.tokens, channels_}),
           "dy: expected (batch, tokens, channels)");
    const int window = geometry_.window;
    if (node.number("rope_theta") != 0)
      rope_ = RopeTable(window, d_ / 2, node.number("rope_theta"), node.number("rope_scale"));
    if (rel_h_ >= 0) bias_ = RelativeBias(window, window, window, window, d_);
    compiler.pool.reserve(plan(nullptr).bytes);
  }

  struct Scratch {
    Window window;
    int32_t* positions;  // of the queries that run
    GradientQueries queries;
    GradientKeys keys;
    GradientScratch group;
    HalfQueries half_queries;
    HalfKeys half_keys;
    HalfScratch half_group;
    GradientStatistics* statistics;
    float *row, *masks, *bias, *axes;
    size_t bytes;
  };

  // A head of a window of an item.
  struct Unit {
    int64_t item, window;
    int head;
  };
  int64_t units() const { return batch_ * geometry_.windows * heads_; }
  Unit unit_at(int64_t index) const {
    return {index / heads_ / geometry_.windows, index / heads_ % geometry_.windows,
            static_cast<int>(index % heads_)};
  }
  float scale() const { return 1 / ::sqrtf(static_cast<float>(d_)); }
  HeadLayout<float> head() const { return {d_}; }
  // Of a row of dk, dv or dq.
  int sums_width() const { return half_ ? HeadLayout<bf16>{d_}.width() : head().width(); }
  const float* rope_row(int position) const {
    return rope_ ? rope_.at(position / geometry_.window) : nullptr;
  }
  const float* rope_column(int position) const {
    return rope_ ? rope_.at(position % geometry_.window) : nullptr;
  }

  void prepare(const Run& run) const {
    if (bias_) bias_.prepare(run.pool, run.in<float>(rel_h_), run.in<float>(rel_w_));
  }

  Scratch plan(void* memory) const {
    const int count = geometry_.window * geometry_.window, width = head().width();
    const int padded = HeadLayout<float>::padded_keys(count);
    const int rows = HeadLayout<float>::padded_queries(padded);
    Carver carver(memory);
    Scratch s;
    s.window.tokens = carver.take<int32_t>(count);
    s.window.regions = carver.take<int8_t>(count);
    s.positions = carver.take<int32_t>(count);
    for (float** each : {&s.keys.dk, &s.keys.dv}) *each = carver.take<float>(sums_numbers());
    if (half_) {
      plan_half(carver, s);
    } else {
      for (float** each : {&s.queries.q, &s.queries.dout, &s.keys.rows})
        *each = carver.take<float>(int64_t{rows} * width);
      s.keys.keys = carver.take<float>(head().key_numbers(count));
      s.keys.values = carver.take<float>(head().key_numbers(count));
      s.group = GradientScratch::plan(carver, padded, width);
    }
    s.statistics = carver.take<GradientStatistics>(count);
    s.row = carver.take<float>(width);
    const int keys = half_ ? HeadLayout<bf16>::padded_keys(count) : padded;
    s.masks = carver.take<float>(kRegions * static_cast<int64_t>(keys));
    s.bias = carver.take<float>(bias_ ? bias_.buffer(count) : 0);
    s.axes = carver.take<float>(bias_ ? count * bias_.axes() : 0);
    s.bytes = carver.bytes();
    return s;
  }

  // A part (0: query, 1: key, 2: value) of a unit's rows in qkv, by token.
  HeadRows rows_of(const Run& run, const Unit& unit, int part) const {
    const int64_t stride = 3 * int64_t{channels_};
    return {run.operands[qkv_], type_,
            unit.item * geometry_.tokens * stride + part * channels_ + unit.head * d_, stride};
  }
  // The query at a position of a unit's window, turned.
  void load_query(const Run& run, const Unit& unit, int position, int64_t token, float* to) const {
    load_row(rows_of(run, unit, 0), token, d_, rope_row(position), rope_column(position),
             head().width(), to);
  }

  // Gathers a unit, attends, and adds to s.keys.dk and dv; take as in attend_gradient().
  template <class Take>
  void attend_window(const Run& run, const Unit& unit, Scratch& s, Take&& take) const {
    const int window = geometry_.window, count = window * window, width = head().width();
    map_window(geometry_, unit.window, s.window);
    load_keys(run, unit, s);
    const HeadRows dy{run.operands[dy_], dy_type_,
                      unit.item * geometry_.tokens * channels_ + unit.head * d_, channels_};
    int queries = 0;
    for (int position = 0; position < count; ++position) {
      const int token = s.window.tokens[position];
      if (token < 0) continue;
      const int64_t at = int64_t{queries} * width;
      load_query(run, unit, position, token, s.queries.q + at);
      if (bias_)
        bias_.axes_of(s.queries.q + at, position / window, position % window, kLog2E,
                      s.axes + queries * bias_.axes());
      for (int c = 0; c < width; c += kWidth)
        store(s.queries.q + at + c, load(s.queries.q + at + c) * set1(kLog2E * scale()));
      load_row(dy, token, d_, nullptr, nullptr, width, s.queries.dout + at);
      s.positions[queries++] = position;
    }
    s.queries.count = queries;
    if (s.window.masked) mask_regions(s.window, count, s.keys.padded, s.masks);
    if (wants_keys_) clear_sums(s);
    GradientKeys keys = s.keys;
    if (!wants_keys_) keys.dk = keys.dv = nullptr;
    attend_gradient<true>(
        head(), s.queries, keys,
        [&](int query) -> const float* {
          const int region = s.window.regions[s.positions[query]];
          const float* mask = s.window.masked ? s.masks + region * s.keys.padded : nullptr;
          if (!bias_) return mask;
          return bias_.expand(s.axes + query * bias_.axes(), 0, count, mask, s.bias);
        },
        take, s.statistics, s.group);
  }

  // The same with products of bf16; take(query, its dQ / scale).
  template <class Take>
  void attend_window_half(const Run& run, const Unit& unit, Scratch& s, Take&& take) const {
#if defined(HRSAM_ISA_avx512bf16)
    const MultiplyScope<bf16> scope;
    const int window = geometry_.window, count = window * window;
    const HeadLayout<bf16> head{d_};
    map_window(geometry_, unit.window, s.window);
    const int64_t stride = 3 * int64_t{channels_}, channel = unit.head * d_;
    const bf16* qkv = run.in<bf16>(qkv_) + unit.item * geometry_.tokens * stride + channel;
    const bf16* pad = pad_ < 0 ? nullptr : run.in<bf16>(pad_) + channel;
    const bf16* dy = run.in<bf16>(dy_) + unit.item * geometry_.tokens * channels_ + channel;
    const auto row_at = [&](int position, int part, bool turned) {
      const int64_t token = s.window.tokens[position];
      return HeadRow<bf16>{(token < 0 ? pad : qkv + token * stride) + part * channels_,
                           turned ? rope_row(position) : nullptr,
                           turned ? rope_column(position) : nullptr};
    };
    const auto copy_row = [&](const HeadRow<bf16>& row, float factor, bf16* to) {
      load_head(row.data, d_, row.rope_row, row.rope_column, s.row);
      pack_query(head, s.row, factor, to);
    };
    s.keys.count = count;
    s.keys.padded = HeadLayout<bf16>::padded_keys(count);
    pack_keys(
        head, count, [&](int j) { return row_at(j, 2, false); }, s.half_keys.values);
    pack_keys(
        head, count, [&](int j) { return row_at(j, 1, true); }, s.half_keys.keys);
    // Keys in pairs: their rows pass through the queries'.
    for (int j = 0; j < count; ++j)
      copy_row(row_at(j, 1, true), 1, s.half_queries.q + int64_t{j} * head.depth());
    gradient::pair_rows(head, s.half_queries.q, count, s.half_keys.pairs);
    int queries = 0;
    for (int position = 0; position < count; ++position) {
      const int64_t token = s.window.tokens[position];
      if (token < 0) continue;
      const int64_t at = int64_t{queries} * head.depth();
      copy_row(row_at(position, 0, true), kLog2E * scale(), s.half_queries.q + at);
      copy_row({dy + token * channels_, nullptr, nullptr}, 1, s.half_queries.dout + at);
      s.positions[queries++] = position;
    }
    if (s.window.masked) mask_regions(s.window, count, s.keys.padded, s.masks);
    clear_sums(s);
    attend_gradient_half(
        head, s.half_queries, queries, s.half_keys, s.keys,
        [&](int query) {
          const int region = s.window.regions[s.positions[query]];
          return s.window.masked ? s.masks + region * s.keys.padded : nullptr;
        },
        take, s.statistics, s.half_group);
#endif
  }

  const Geometry geometry_;
  int qkv_, pad_, dy_, rel_h_, rel_w_;
  int64_t batch_;
  int channels_, d_, heads_;
  DType type_, dy_type_;
  bool half_;  // products of bf16
  bool wants_keys_;
  RopeTable rope_;
  RelativeBias bias_;

 private:
  void plan_half(Carver& carver, Scratch& s) const {
#if defined(HRSAM_ISA_avx512bf16)
    const HeadLayout<bf16> head{d_};
    const int count = geometry_.window * geometry_.window;
    const int padded = HeadLayout<bf16>::padded_keys(count);
    for (bf16** each : {&s.half_queries.q, &s.half_queries.dout})
      *each = carver.take<bf16>(head.query_numbers(padded));
    for (bf16** each : {&s.half_queries.q_pairs, &s.half_queries.dout_pairs, &s.half_keys.pairs})
      *each = carver.take<bf16>(head.value_numbers(padded));
    for (bf16** each : {&s.half_keys.keys, &s.half_keys.values})
      *each = carver.take<bf16>(head.key_numbers(count));
    s.half_group = HalfScratch::plan(carver, padded, head.width());
#endif
  }

  // Of dk or dv.
  int64_t sums_numbers() const {
    using Full = HeadLayout<float>;
    using Half = HeadLayout<bf16>;
    const int count = geometry_.window * geometry_.window;
    const int rows = half_ ? Half::padded_queries(Half::padded_keys(count))
                           : Full::padded_queries(Full::padded_keys(count));
    return int64_t{rows} * sums_width();
  }

  void clear_sums(const Scratch& s) const {
    const size_t sums = sizeof(float) * static_cast<size_t>(sums_numbers());
    memset(s.keys.dk, 0, sums);
    memset(s.keys.dv, 0, sums);
  }

  void load_keys(const Run& run, const Unit& unit, Scratch& s) const {
    const int count = geometry_.window * geometry_.window, width = head().width();
    const HeadRows k = rows_of(run, unit, 1), v = rows_of(run, unit, 2);
    const void* pad = pad_ < 0 ? nullptr : run.operands[pad_];
    const HeadRows pad_k{pad, type_, channels_ + unit.head * d_, 0};
    const HeadRows pad_v{pad, type_, 2 * channels_ + unit.head * d_, 0};
    // Values pass through dk on their way into panels.
    pack_gradient_keys(
        head(), count,
        [&](int j, float* to) {
          const int token = s.window.tokens[j];
          load_row(token < 0 ? pad_k : k, token < 0 ? 0 : token, d_, rope_row(j), rope_column(j),
                   width, to);
        },
        [&](int j, float* to) {
          const int token = s.window.tokens[j];
          load_row(token < 0 ? pad_v : v, token < 0 ? 0 : token, d_, nullptr, nullptr, width, to);
        },
        s.keys.dk, s.keys);
  }
};

}  // namespace hrsam::cpu::HRSAM_ISA

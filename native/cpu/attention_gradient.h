// What the gradients of attention share: blocks of queries and keys, gathered, and the softmax's
// statistics.
#pragma once

#include <initializer_list>

#include "../plan/attention_layout.h"
#include "attention_gradient_tile.h"
#include "carver.h"
#include "relative_bias.h"

namespace hrsam::cpu::HRSAM_ISA {

class AttentionGradientOp : public Op {
 protected:
  static constexpr int kQueries = 512;
  static constexpr int kKeys = 256;

  AttentionGradientOp(const Node& node, Compiler& compiler)
      : layout_(read_attention(node)),
        q_(node.operand("q")),
        k_(node.operand_or("k")),
        v_(node.operand_or("v")),
        dy_(node.operand("dy")),
        lengths_(node.operand_or("lengths")),
        rel_h_(node.operand_or("rel_h")),
        rel_w_(node.operand_or("rel_w")),
        type_(node.value("q").dtype),
        dy_type_(node.value("dy").dtype) {
    const Layout& l = layout_;
    expect_floats(node, node.value("dy"), "dy");
    expect(node, has_shape(node.value("dy"), {l.batch, l.q_tokens, l.channels()}),
           "dy: expected (batch, queries, channels)");
    if (l.rope_theta != 0) rope_ = RopeTable(l.longest_side, l.d / 2, l.rope_theta, l.rope_scale);
    if (l.rel_sizes[0] > 0)
      bias_ = RelativeBias(l.rel_sizes[0], l.rel_sizes[1], l.rel_sizes[2], l.rel_sizes[3], l.d);
    for (int i = 0; i < l.segment_count; ++i) {
      const Segment& segment = l.segments[i];
      first_block_[i] = blocks_;
      blocks_ += divide_up(segment.q_count, kQueries);
      most_queries_ = larger(most_queries_, smaller(kQueries, segment.q_count));
      most_keys_ = larger(most_keys_, smaller(kKeys, segment.k_count));
      whole_ = whole_ && segment.k_count <= kKeys;
    }
    if (!whole_)
      statistics_ =
          Block(sizeof(GradientStatistics) * static_cast<size_t>(l.batch * l.heads * l.q_tokens));
    compiler.pool.reserve(plan(nullptr).bytes);
  }

  struct Scratch {
    GradientQueries queries;
    GradientKeys keys;
    GradientScratch group;
    GradientStatistics* statistics;  // of the block of queries, where a block holds all keys
    float *bias, *axes, *sums;       // sums: of dS over rows, then over columns of keys
    float* row;
    size_t bytes;
  };

  // A block of queries of one head.
  struct Unit {
    int segment;
    int64_t item, head, begin;  // begin: inside the segment
    int count;
  };
  int64_t units() const { return layout_.batch * layout_.heads * blocks_; }
  Unit unit_at(int64_t index) const {
    const int64_t block = index % blocks_;
    Unit unit{0, index / blocks_ / layout_.heads, index / blocks_ % layout_.heads, 0, 0};
    while (unit.segment + 1 < layout_.segment_count && block >= first_block_[unit.segment + 1])
      ++unit.segment;
    unit.begin = (block - first_block_[unit.segment]) * kQueries;
    unit.count = static_cast<int>(smaller(kQueries, segment(unit).q_count - unit.begin));
    return unit;
  }
  const Segment& segment(const Unit& unit) const { return layout_.segments[unit.segment]; }
  int64_t keys_of(const Run& run, int64_t item, const Segment& segment) const {
    if (lengths_ < 0) return segment.k_count;
    return smaller(segment.k_count, larger(0, run.in<int32_t>(lengths_)[item]));
  }
  // Of all heads: where a query's statistics, and the like, lie.
  int64_t query_index(const Unit& unit) const {
    return (unit.item * layout_.heads + unit.head) * layout_.q_tokens + segment(unit).q_first +
           unit.begin;
  }

  float scale() const { return 1 / ::sqrtf(static_cast<float>(layout_.d)); }
  HeadLayout<float> head() const { return {layout_.d}; }
  const float* rope_at(int64_t position) const { return rope_ ? rope_.at(position) : nullptr; }
  int rel_numbers() const { return layout_.rel_sizes[2] + layout_.rel_sizes[3]; }

  Scratch plan(void* memory) const {
    const int keys = static_cast<int>(most_keys_), width = head().width();
    const int padded = HeadLayout<float>::padded_keys(keys);
    const int64_t queries = HeadLayout<float>::padded_queries(static_cast<int>(most_queries_));
    Carver carver(memory);
    Scratch s;
    for (float** each : {&s.queries.q, &s.queries.dout})
      *each = carver.take<float>(queries * width);
    for (float** each : {&s.keys.rows, &s.keys.dk, &s.keys.dv})
      *each = carver.take<float>(int64_t{round_up(padded, kVectorRows)} * width);
    s.keys.keys = carver.take<float>(head().key_numbers(keys));
    s.keys.values = carver.take<float>(head().key_numbers(keys));
    s.group = GradientScratch::plan(carver, padded, width);
    s.statistics = carver.take<GradientStatistics>(queries);
    s.bias = carver.take<float>(bias_ ? bias_.buffer(keys) : 0);
    s.axes = carver.take<float>(bias_ ? queries * bias_.axes() : 0);
    s.sums = carver.take<float>(rel_numbers());
    s.row = carver.take<float>(width);
    s.bytes = carver.bytes();
    return s;
  }

  // The i-th query of a unit, turned.
  void load_query(const Run& run, const Unit& unit, int64_t i, float* to) const {
    const Layout& l = layout_;
    const Segment& seen = segment(unit);
    const int64_t place = unit.begin + i;
    const HeadRows rows{run.operands[q_], type_, unit.head * l.d, l.row()};
    load_row(rows, unit.item * l.q_tokens + seen.q_first + place, l.d,
             rope_at(place / seen.q_columns), rope_at(place % seen.q_columns), head().width(), to);
  }

  void load_queries(const Run& run, const Unit& unit, Scratch& s) const {
    const Layout& l = layout_;
    const Segment& seen = segment(unit);
    const int width = head().width();
    const HeadRows dy{run.operands[dy_], dy_type_, unit.head * l.d, l.channels()};
    for (int i = 0; i < unit.count; ++i) {
      float* q = s.queries.q + int64_t{i} * width;
      load_query(run, unit, i, q);
      if (bias_)
        bias_.axes_of(q, static_cast<int>((unit.begin + i) / seen.q_columns),
                      static_cast<int>((unit.begin + i) % seen.q_columns), kLog2E,
                      s.axes + i * bias_.axes());
      for (int c = 0; c < width; c += kWidth) store(q + c, load(q + c) * set1(kLog2E * scale()));
      load_row(dy, unit.item * l.q_tokens + seen.q_first + unit.begin + i, l.d, nullptr, nullptr,
               width, s.queries.dout + int64_t{i} * width);
    }
    s.queries.count = unit.count;
  }

  // Keys [first, first + count) of a segment; item: of keys and values.
  void load_keys(const Run& run, const Segment& seen, int64_t item, int64_t head_index,
                 int64_t first, int count, Scratch& s) const {
    const Layout& l = layout_;
    const int64_t row = item * l.k_tokens + seen.k_first + first, channel = head_index * l.d;
    const int key = l.packed ? q_ : k_, value = l.packed ? q_ : v_;
    const HeadRows k{run.operands[key], type_, channel + (l.packed ? l.channels() : 0), l.row()};
    const HeadRows v{run.operands[value], type_, channel + (l.packed ? 2 * l.channels() : 0),
                     l.row()};
    // Values pass through dk on their way into panels.
    pack_gradient_keys(
        head(), count,
        [&](int j, float* to) {
          load_row(k, row + j, l.d, rope_at((first + j) / seen.k_columns),
                   rope_at((first + j) % seen.k_columns), head().width(), to);
        },
        [&](int j, float* to) { load_row(v, row + j, l.d, nullptr, nullptr, head().width(), to); },
        s.keys.dk, s.keys);
  }

  // The i-th query's additions to its logits with the keys from `first` on.
  auto bias_from(int64_t first, const Scratch& s) const {
    return [this, first, &s](int i) {
      return bias_ ? bias_.expand(s.axes + i * bias_.axes(), first, s.keys.count, nullptr, s.bias)
                   : nullptr;
    };
  }

  // Before attend(): tables, and the statistics of all queries whose keys are several blocks.
  void prepare(const Run& run) const {
    if (bias_) bias_.prepare(run.pool, run.in<float>(rel_h_), run.in<float>(rel_w_));
    if (whole_) return;
    run.pool.each(units(), [&](int64_t index, int thread) {
      const Unit unit = unit_at(index);
      Scratch s = plan(run.pool.scratch(thread));
      GradientStatistics* those = statistics_.as<GradientStatistics>() + query_index(unit);
      load_queries(run, unit, s);
      for (int i = 0; i < unit.count; ++i) those[i] = GradientStatistics();
      const int64_t keys = keys_of(run, unit.item, segment(unit));
      for (int64_t first = 0; first < keys; first += kKeys) {
        load_keys(run, segment(unit), layout_.shared_keys ? 0 : unit.item, unit.head, first,
                  static_cast<int>(smaller(kKeys, keys - first)), s);
        add_key_statistics(head(), s.queries, s.keys, bias_from(first, s), those, s.group);
      }
      for (int i = 0; i < unit.count; ++i) those[i].finish();
    });
  }

  // The loaded queries against the loaded keys, `first` being the first; take as in
  // attend_gradient().
  template <class Take>
  void attend(const Unit& unit, int64_t first, Scratch& s, Take&& take) const {
    if (whole_)
      attend_gradient<true>(head(), s.queries, s.keys, bias_from(first, s), take, s.statistics,
                            s.group);
    else
      attend_gradient<false>(head(), s.queries, s.keys, bias_from(first, s), take,
                             statistics_.as<GradientStatistics>() + query_index(unit), s.group);
  }

  const Layout layout_;
  int q_, k_, v_, dy_, lengths_, rel_h_, rel_w_;
  DType type_, dy_type_;
  int64_t first_block_[kMaxSegments] = {};
  int64_t blocks_ = 0, most_queries_ = 1, most_keys_ = 1;
  bool whole_ = true;  // no segment has more keys than a block
  RopeTable rope_;
  RelativeBias bias_;
  Block statistics_;  // [item][head][query], unless whole_
};

}  // namespace hrsam::cpu::HRSAM_ISA

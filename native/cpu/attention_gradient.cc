// Gradients of attention's q, k and v, one after the other in one list; or of the packed qkv.
//
// First, in units of kQueries queries of a head, the statistics of all softmaxes. Then each unit is
// a chunk of a head's keys and takes all queries past it, block of keys by block of keys: it alone
// has those keys' gradients (of all items, where they share keys), and keeps a partial gradient of
// the queries. Keys are cut into at most kMostChunks chunks, so that a single head with many keys
// is work for several threads; the partial gradients are added up in order at the end.
#include "attention_gradient.h"
#include "relative_gradient.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kLeastChunk = 1024;
constexpr int64_t kMostChunks = 4;

class AttentionGradient : public AttentionGradientOp {
 public:
  AttentionGradient(const Node& node, Compiler& compiler)
      : AttentionGradientOp(node, compiler), out_type_(node.result().dtype) {
    const Layout& l = layout_;
    expect_floats(node, node.result(), "result");
    int64_t size = node.value("q").elements();
    if (!l.packed) size += 2 * node.value("k").elements();
    expect(node, has_shape(node.result(), {size}), "result: expected a list of all gradients");
    for (int i = 0; i < l.segment_count; ++i) {
      first_chunk_[i] = chunks_;
      chunks_ += chunks_of(l.segments[i]);
      most_chunks_ = larger(most_chunks_, chunks_of(l.segments[i]));
    }
    if (most_chunks_ > 1 || out_type_ != DType::f32)
      partials_ = Block(sizeof(float) * static_cast<size_t>(most_chunks_ * l.batch * l.q_tokens) *
                        static_cast<size_t>(l.channels()));
  }

  void run(const Run& run) const override {
    prepare(run);
    run.pool.each(groups() * layout_.heads * chunks_, [&](int64_t index, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      differentiate_chunk(run, index, s);
    });
    run.pool.each(units(), [&](int64_t index, int thread) {
      Scratch s = plan(run.pool.scratch(thread));
      store_queries(run, unit_at(index), s);
    });
  }

 private:
  // Items that share their keys form a group, which has gradients even if there is no item.
  int64_t groups() const { return layout_.shared_keys ? 1 : layout_.batch; }
  static int64_t chunk_length(const Segment& segment) {
    return larger(kLeastChunk, divide_up(divide_up(segment.k_count, kMostChunks), kKeys) * kKeys);
  }
  static int64_t chunks_of(const Segment& segment) {
    return divide_up(segment.k_count, chunk_length(segment));
  }
  // Where a chunk's gradient of a query is gathered: the result itself, if one chunk in f32 is all.
  float* query_sums(const Run& run, int64_t chunk, const Unit& unit, int64_t i) const {
    const Layout& l = layout_;
    const int64_t token = unit.item * l.q_tokens + segment(unit).q_first + unit.begin + i;
    if (!partials_) return run.out<float>() + token * l.row() + unit.head * l.d;
    return partials_.as<float>() + (chunk * l.batch * l.q_tokens + token) * l.channels() +
           unit.head * l.d;
  }

  void differentiate_chunk(const Run& run, int64_t index, Scratch& s) const {
    const Layout& l = layout_;
    const int64_t group = index / chunks_ / l.heads, head_index = index / chunks_ % l.heads;
    int i = 0;
    while (i + 1 < l.segment_count && index % chunks_ >= first_chunk_[i + 1]) ++i;
    const Segment& seen = l.segments[i];
    const int64_t chunk = index % chunks_ - first_chunk_[i], begin = chunk * chunk_length(seen);
    const int64_t end = smaller(seen.k_count, begin + chunk_length(seen));
    const int64_t items = l.shared_keys ? l.batch : 1;
    int64_t most = 0;  // keys that any item has
    for (int64_t item = group; item < group + items; ++item)
      most = larger(most, keys_of(run, item, seen));
    for (int64_t first = begin; first < end; first += kKeys) {
      const int block = static_cast<int>(smaller(kKeys, end - first));
      const int count = static_cast<int>(larger(0, smaller(block, most - first)));
      if (count > 0) {
        load_keys(run, seen, group, head_index, first, count, s);
        const size_t numbers =
            static_cast<size_t>(round_up(s.keys.padded, kVectorRows)) * head().width();
        memset(s.keys.dk, 0, sizeof(float) * numbers);
        memset(s.keys.dv, 0, sizeof(float) * numbers);
      }
      for (int64_t item = group; item < group + items; ++item) {
        s.keys.count = static_cast<int>(smaller(count, keys_of(run, item, seen) - first));
        if (s.keys.count > 0) add_queries(run, item, head_index, i, chunk, first, first > begin, s);
      }
      for (int j = 0; j < block; ++j)
        store_key(run, group, head_index, seen, first + j, j, j < count, s);
    }
  }

  // All queries of an item's segment against the loaded keys.
  void add_queries(const Run& run, int64_t item, int64_t head_index, int segment_index,
                   int64_t chunk, int64_t first, bool add, Scratch& s) const {
    const Layout& l = layout_;
    const Segment& seen = l.segments[segment_index];
    for (int64_t begin = 0; begin < seen.q_count; begin += kQueries) {
      const Unit unit{segment_index, item, head_index, begin,
                      static_cast<int>(smaller(kQueries, seen.q_count - begin))};
      load_queries(run, unit, s);
      attend(unit, first, s, [&](int i, const float* ds, float* dq) {
        if (bias_) add_relative(run, unit, i, first, ds, dq, s);
        float* to = query_sums(run, chunk, unit, i);
        for (int c = 0; c < l.d; c += kWidth) {
          const V x = load(dq + c);
          store_lanes(to + c, add ? x + load_lanes(to + c, l.d - c) : x, l.d - c);
        }
      });
    }
  }

  // What the i-th query's gradient gets through rel_h and rel_w.
  void add_relative(const Run& run, const Unit& unit, int i, int64_t first, const float* ds,
                    float* dq, Scratch& s) const {
    const int rows = layout_.rel_sizes[2], columns = layout_.rel_sizes[3], d = layout_.d;
    float *down = s.sums, *across = s.sums + rows;
    memset(down, 0, sizeof(float) * static_cast<size_t>(rel_numbers()));
    add_axis_sums(ds, first, s.keys.count, columns, down, across);
    const int64_t place = unit.begin + i, qi = place / segment(unit).q_columns;
    const int64_t row = first / columns, last = (first + s.keys.count - 1) / columns;
    add_table_rows(down + row, static_cast<int>(last - row + 1),
                   run.in<float>(rel_h_) + (qi * rows + row) * d, d, 1 / scale(), dq);
    add_table_rows(across, columns,
                   run.in<float>(rel_w_) + place % segment(unit).q_columns * columns * d, d,
                   1 / scale(), dq);
  }

  // Gradients of a segment's key and value, from row j of the sums; zeros for keys past all
  // lengths.
  void store_key(const Run& run, int64_t item, int64_t head_index, const Segment& seen, int64_t key,
                 int j, bool present, Scratch& s) const {
    const Layout& l = layout_;
    const int64_t sums = int64_t{j} * head().width();
    const int64_t token = item * l.k_tokens + seen.k_first + key;
    const int64_t q_numbers = l.batch * l.q_tokens * l.channels();
    const int64_t k_numbers = (l.shared_keys ? 1 : l.batch) * l.k_tokens * l.channels();
    const int64_t k_at = l.packed ? l.channels() : q_numbers;
    const int64_t v_at = l.packed ? 2 * l.channels() : q_numbers + k_numbers;
    const int64_t at = token * l.row() + head_index * l.d;
    if (!present) {
      memset(s.row, 0, sizeof(float) * static_cast<size_t>(l.d));
      store_row(s.row, l.d, run.result, out_type_, k_at + at);
      store_row(s.row, l.d, run.result, out_type_, v_at + at);
      return;
    }
    turn_row_back(s.keys.dk + sums, l.d, rope_at(key / seen.k_columns),
                  rope_at(key % seen.k_columns), 1 / kLog2E, s.row);
    store_row(s.row, l.d, run.result, out_type_, k_at + at);
    store_row(s.keys.dv + sums, l.d, run.result, out_type_, v_at + at);
  }

  void store_queries(const Run& run, const Unit& unit, Scratch& s) const {
    const Layout& l = layout_;
    const Segment& seen = segment(unit);
    const int64_t keys = keys_of(run, unit.item, seen);
    for (int i = 0; i < unit.count; ++i) {
      const int64_t place = unit.begin + i;
      float* sums = s.queries.q;
      memset(sums, 0, sizeof(float) * static_cast<size_t>(l.d));
      for (int64_t chunk = 0; chunk * chunk_length(seen) < keys; ++chunk) {
        const float* from = query_sums(run, chunk, unit, i);
        for (int c = 0; c < l.d; c += kWidth)
          store_lanes(sums + c, load_lanes(sums + c, l.d - c) + load_lanes(from + c, l.d - c),
                      l.d - c);
      }
      turn_row_back(sums, l.d, rope_at(place / seen.q_columns), rope_at(place % seen.q_columns),
                    scale(), s.row);
      store_row(s.row, l.d, run.result, out_type_,
                (unit.item * l.q_tokens + seen.q_first + place) * l.row() + unit.head * l.d);
    }
  }

  DType out_type_;
  int64_t first_chunk_[kMaxSegments] = {};
  int64_t chunks_ = 0, most_chunks_ = 0;  // of all segments; of one
  Block partials_;                        // [chunk][item][query][channel]
};

}  // namespace

Op* compile_attention_gradient(const Node& node, Compiler& compiler) {
  return new AttentionGradient(node, compiler);
}

}  // namespace hrsam::cpu::HRSAM_ISA

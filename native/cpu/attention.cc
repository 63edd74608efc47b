// Attention of any queries to any keys; the logits are never stored as a whole.
//
// A unit of work is one head of up to kQueries queries. It packs its queries once and goes through
// the keys in blocks of kKeys, which it packs as well (for 1024 queries that is 3 % of the
// products' time, and saves a pass over memory); queries, sums and a block fit the L2 cache. See
// attention_tile.h for the products.
//
// Keys count in chunks of kChunk: each chunk has its own online softmax and chunks are merged in
// order. Where a few queries face many chunks, as in a mask decoder, chunks are units of work too;
// elsewhere a unit merges its own. The arithmetic is the same, so a result depends neither on the
// number of queries nor on the rest of the batch.
#include "../plan/attention_layout.h"
#include "attention_tile.h"
#include "carver.h"
#include "relative_bias.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int kQueries = 1024;
constexpr int kKeys = 256;
constexpr int64_t kChunk = 4096;
constexpr int64_t kFewUnits = 64;            // below it, chunks are units
constexpr int64_t kMostPartials = 64 << 20;  // bytes

// Running sums of a block of queries.
struct Sums {
  Statistics* statistics;
  float* out;  // [padded queries][width]
};

// into := what both chunks' keys give together.
void merge(Sums into, const Sums& other, int queries, int width) {
  for (int r = 0; r < queries; ++r) {
    Statistics& a = into.statistics[r];
    const Statistics& b = other.statistics[r];
    const float largest = a.largest > b.largest ? a.largest : b.largest;
    const float a_scale = ::exp2f(a.largest - largest), b_scale = ::exp2f(b.largest - largest);
    a = {largest, a.sum * a_scale + b.sum * b_scale};
    float* to = into.out + static_cast<int64_t>(r) * width;
    const float* from = other.out + static_cast<int64_t>(r) * width;
    for (int c = 0; c < width; c += kWidth)
      store(to + c, fma(load(to + c), set1(a_scale), load(from + c) * set1(b_scale)));
  }
}

class Attention : public Op {
 public:
  Attention(const Node& node, const Layout& layout, Pool& pool)
      : layout_(layout),
        q_(node.operand("q")),
        k_(node.operand_or("k")),
        v_(node.operand_or("v")),
        lengths_(node.operand_or("lengths")),
        rel_h_(node.operand_or("rel_h")),
        rel_w_(node.operand_or("rel_w")),
        in_type_(node.value("q").dtype),
        out_type_(node.result().dtype) {
    const Layout& l = layout_;
    if (l.rope_theta != 0) rope_ = RopeTable(l.longest_side, l.d / 2, l.rope_theta, l.rope_scale);
    if (l.rel_sizes[0] > 0)
      bias_ = RelativeBias(l.rel_sizes[0], l.rel_sizes[1], l.rel_sizes[2], l.rel_sizes[3], l.d);
    for (int i = 0; i < l.segment_count; ++i) {
      most_queries_ =
          static_cast<int>(larger(most_queries_, smaller(kQueries, l.segments[i].q_count)));
      most_keys_ = static_cast<int>(larger(most_keys_, smaller(kKeys, l.segments[i].k_count)));
      blocks_ += divide_up(l.segments[i].q_count, kQueries);
      chunks_ = larger(chunks_, divide_up(l.segments[i].k_count, kChunk));
    }
    const int64_t partials = units() * chunks_ * static_cast<int64_t>(sums_bytes());
    if (chunks_ > 1 && units() < kFewUnits && partials <= kMostPartials)
      partials_ = Block(static_cast<size_t>(partials));
    pool.reserve(full() ? plan<float>(nullptr).bytes : plan<Half>(nullptr).bytes);
  }

  void run(const Run& run) const override {
    if (bias_) bias_.prepare(run.pool, run.in<float>(rel_h_), run.in<float>(rel_w_));
    full() ? run_as<float>(run) : run_as<bf16>(run);
  }

 private:
  template <class E>
  struct Scratch {
    E *query, *keys, *values;
    GroupScratch<E> group;
    float *row, *bias, *axes;
    Sums total, chunk;
    size_t bytes;
  };

  // One head of a block of queries, and what it may see.
  struct Unit {
    const Segment* segment;
    int64_t item, head, q_begin;  // q_begin: inside the segment
    int queries;
    int64_t keys;
  };

  int64_t units() const { return layout_.batch * blocks_ * layout_.heads; }
  using Half = ComputeType<bf16>::E;
  bool full() const { return in_type_ == DType::f32; }
  int width() const {
    return full() ? HeadLayout<float>{layout_.d}.width() : HeadLayout<Half>{layout_.d}.width();
  }
  Sums sums(Carver& carver) const {
    const int rows = full() ? HeadLayout<float>::padded_queries(most_queries_)
                            : HeadLayout<Half>::padded_queries(most_queries_);
    Statistics* statistics = carver.take<Statistics>(rows);
    return {statistics, carver.take<float>(static_cast<int64_t>(rows) * width())};
  }
  size_t sums_bytes() const {
    Carver carver(nullptr);
    sums(carver);
    return carver.bytes();
  }
  Sums partial(int64_t unit, int64_t chunk) const {
    Carver carver(partials_.as<char>() +
                  (unit * chunks_ + chunk) * static_cast<int64_t>(sums_bytes()));
    return sums(carver);
  }

  template <class E>
  Scratch<E> plan(void* memory) const {
    const HeadLayout<E> head{layout_.d};
    const int padded = HeadLayout<E>::padded_keys(most_keys_);
    Carver carver(memory);
    Scratch<E> s;
    s.query = carver.take<E>(head.query_numbers(most_queries_));
    s.keys = carver.take<E>(head.key_numbers(most_keys_));
    s.values = carver.take<E>(head.value_numbers(most_keys_));
    s.group.logits = carver.take<float>(int64_t{kGroup<E>} * padded);
    s.group.probabilities = carver.take<E>(int64_t{kGroup<E>} * padded);
    s.row = carver.take<float>(head.width());
    s.bias = carver.take<float>(bias_ ? bias_.buffer(most_keys_) : 0);
    s.axes = carver.take<float>(bias_ ? most_queries_ * bias_.axes() : 0);
    s.total = sums(carver);
    s.chunk = chunks_ > 1 ? sums(carver) : s.total;
    s.bytes = carver.bytes();
    return s;
  }

  template <class T>
  void run_as(const Run& run) const {
    using E = typename ComputeType<T>::E;
    if (!partials_) {
      run.pool.each(units(), [&](int64_t index, int thread) {
        const MultiplyScope<E> scope;
        const Unit unit = unit_at(run, index);
        Scratch<E> s = plan<E>(run.pool.scratch(thread));
        pack_queries<T>(run, unit, s);
        for (int64_t chunk = 0; chunk == 0 || chunk * kChunk < unit.keys; ++chunk) {
          attend_chunk<T>(run, unit, chunk, chunk == 0 ? s.total : s.chunk, s);
          if (chunk > 0) merge(s.total, s.chunk, unit.queries, width());
        }
        store_unit(run, unit, s.total);
      });
      return;
    }
    run.pool.each(units() * chunks_, [&](int64_t index, int thread) {
      const Unit unit = unit_at(run, index / chunks_);
      const int64_t chunk = index % chunks_;
      if (chunk > 0 && chunk * kChunk >= unit.keys) return;
      const MultiplyScope<E> scope;
      Scratch<E> s = plan<E>(run.pool.scratch(thread));
      pack_queries<T>(run, unit, s);
      attend_chunk<T>(run, unit, chunk, partial(index / chunks_, chunk), s);
    });
    run.pool.each(units(), [&](int64_t index, int) {
      const Unit unit = unit_at(run, index);
      const Sums total = partial(index, 0);
      for (int64_t chunk = 1; chunk * kChunk < unit.keys; ++chunk)
        merge(total, partial(index, chunk), unit.queries, width());
      store_unit(run, unit, total);
    });
  }

  Unit unit_at(const Run& run, int64_t index) const {
    const Layout& l = layout_;
    Unit unit;
    unit.head = index % l.heads;
    unit.item = index / l.heads / blocks_;
    int64_t block = index / l.heads % blocks_;
    unit.segment = l.segments;
    for (; block >= divide_up(unit.segment->q_count, kQueries); ++unit.segment)
      block -= divide_up(unit.segment->q_count, kQueries);
    unit.q_begin = block * kQueries;
    unit.queries = static_cast<int>(smaller(kQueries, unit.segment->q_count - unit.q_begin));
    unit.keys = unit.segment->k_count;
    if (lengths_ >= 0)
      unit.keys = smaller(unit.keys, larger(0, run.in<int32_t>(lengths_)[unit.item]));
    return unit;
  }

  const float* rope_at(int64_t position) const { return rope_ ? rope_.at(position) : nullptr; }

  template <class T, class E>
  void pack_queries(const Run& run, const Unit& unit, Scratch<E>& s) const {
    const Layout& l = layout_;
    const HeadLayout<E> head{l.d};
    const Segment& segment = *unit.segment;
    const T* q = run.in<T>(q_) +
                 (unit.item * l.q_tokens + segment.q_first + unit.q_begin) * l.row() +
                 unit.head * l.d;
    const float scale = kLog2E / ::sqrtf(static_cast<float>(l.d));
    for (int i = 0; i < unit.queries; ++i) {
      const int64_t row = (unit.q_begin + i) / segment.q_columns;
      const int64_t column = (unit.q_begin + i) % segment.q_columns;
      load_head(q + i * l.row(), l.d, rope_at(row), rope_at(column), s.row);
      pack_query(head, s.row, scale, s.query + static_cast<int64_t>(i) * head.depth());
      if (bias_)
        bias_.axes_of(s.row, static_cast<int>(row), static_cast<int>(column), kLog2E,
                      s.axes + i * bias_.axes());
    }
    for (int i = unit.queries; i < HeadLayout<E>::padded_queries(unit.queries); ++i)
      memset(s.query + static_cast<int64_t>(i) * head.depth(), 0, sizeof(E) * head.depth());
  }

  template <class T, class E>
  void attend_chunk(const Run& run, const Unit& unit, int64_t chunk, Sums to, Scratch<E>& s) const {
    const Layout& l = layout_;
    const HeadLayout<E> head{l.d};
    const Segment& segment = *unit.segment;
    const int64_t item = l.shared_keys ? 0 : unit.item;
    const int64_t first = (item * l.k_tokens + segment.k_first) * l.row() + unit.head * l.d;
    const T* k = (l.packed ? run.in<T>(q_) + l.channels() : run.in<T>(k_)) + first;
    const T* v = (l.packed ? run.in<T>(q_) + 2 * l.channels() : run.in<T>(v_)) + first;
    const int64_t begin = chunk * kChunk, end = smaller(unit.keys, begin + kChunk);
    if (begin >= end) {  // no key at all
      for (int i = 0; i < unit.queries; ++i) to.statistics[i] = Statistics();
      memset(to.out, 0, sizeof(float) * static_cast<size_t>(unit.queries) * width());
    }
    for (int64_t key = begin; key < end; key += kKeys) {
      const int count = static_cast<int>(smaller(kKeys, end - key));
      pack_keys(
          head, count,
          [&](int j) {
            return HeadRow<T>{k + (key + j) * l.row(), rope_at((key + j) / segment.k_columns),
                              rope_at((key + j) % segment.k_columns)};
          },
          s.keys);
      pack_values(
          head, count,
          [&](int j) {
            return HeadRow<T>{v + (key + j) * l.row(), nullptr, nullptr};
          },
          s.values);
      attend(
          head, s.query, unit.queries, s.keys, s.values, count, key == begin,
          [&](int i) {
            return bias_ ? bias_.expand(s.axes + i * bias_.axes(), key, count, nullptr, s.bias)
                         : nullptr;
          },
          to.statistics, to.out, s.group);
    }
  }

  void store_unit(const Run& run, const Unit& unit, const Sums& from) const {
    const Layout& l = layout_;
    const int64_t first =
        (unit.item * l.q_tokens + unit.segment->q_first + unit.q_begin) * l.channels() +
        unit.head * l.d;
    for (int i = 0; i < unit.queries; ++i) {
      const int64_t at = first + i * l.channels();
      const float* sums = from.out + static_cast<int64_t>(i) * width();
      if (out_type_ == DType::f32)
        store_output(sums, from.statistics[i].sum, l.d, run.out<float>() + at);
      else
        store_output(sums, from.statistics[i].sum, l.d, run.out<bf16>() + at);
    }
  }

  Layout layout_;
  int q_, k_, v_, lengths_, rel_h_, rel_w_;
  DType in_type_, out_type_;
  int most_queries_ = 1, most_keys_ = 1;
  int64_t blocks_ = 0;  // of queries, of one item's head
  int64_t chunks_ = 0;  // of the longest segment's keys
  RopeTable rope_;
  RelativeBias bias_;
  Block partials_;  // [unit][chunk] Sums, when chunks are units
};

}  // namespace

Op* compile_attention(const Node& node, Compiler& compiler) {
  const Layout l = read_forward_attention(node);
  return new Attention(node, l, compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA

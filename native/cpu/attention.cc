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
#include "attention_tile.h"
#include "carver.h"
#include "expect.h"
#include "relative_bias.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int kQueries = 1024;
constexpr int kKeys = 256;
constexpr int64_t kChunk = 4096;
constexpr int64_t kFewUnits = 64;            // below it, chunks are units
constexpr int64_t kMostPartials = 64 << 20;  // bytes
constexpr int kMaxSegments = 64;
constexpr int kMaxSide = 1 << 20;

// Queries and keys that see each other, by their first tokens; grids as numbers of columns.
struct Segment {
  int64_t q_first, q_count, k_first, k_count;
  int q_columns, k_columns;
  int64_t first_block;  // of its queries, among all segments' blocks
};

struct Layout {
  int64_t batch, heads, q_tokens, k_tokens;
  int d;
  bool packed, shared_keys;  // qkv in one; k and v have one item for all
  double rope_theta, rope_scale;
  int rel_sizes[4];  // rows and columns of queries, then of keys; 0: no bias
  int segment_count = 0;
  Segment segments[kMaxSegments];
  int64_t blocks = 0;  // of queries, of one item's head
  int64_t chunks = 0;  // of the longest segment's keys
  int longest_side = 0;

  int64_t channels() const { return heads * d; }
  int64_t row() const { return packed ? 3 * channels() : channels(); }
};

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
    }
    const int64_t partials = units() * l.chunks * static_cast<int64_t>(sums_bytes());
    if (l.chunks > 1 && units() < kFewUnits && partials <= kMostPartials)
      partials_ = Block(static_cast<size_t>(partials));
    pool.reserve(in_type_ == DType::f32 ? plan<float>(nullptr).bytes
                                        : plan<ComputeType<bf16>::E>(nullptr).bytes);
  }

  void run(const Run& run) const override {
    if (bias_) bias_.prepare(run.pool, run.in<float>(rel_h_), run.in<float>(rel_w_));
    in_type_ == DType::f32 ? run_as<float>(run) : run_as<bf16>(run);
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

  int64_t units() const { return layout_.batch * layout_.blocks * layout_.heads; }
  int width() const { return round_up(layout_.d, kWidth); }
  Sums sums(Carver& carver) const {
    const int rows = round_up(most_queries_, kRows);
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
                  (unit * layout_.chunks + chunk) * static_cast<int64_t>(sums_bytes()));
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
    s.group.logits = carver.take<float>(static_cast<int64_t>(kGroup) * padded);
    s.group.probabilities = carver.take<E>(static_cast<int64_t>(kGroup) * padded);
    s.row = carver.take<float>(head.width());
    s.bias = carver.take<float>(bias_ ? bias_.buffer(most_keys_) : 0);
    s.axes = carver.take<float>(bias_ ? most_queries_ * bias_.axes() : 0);
    s.total = sums(carver);
    s.chunk = layout_.chunks > 1 ? sums(carver) : s.total;
    s.bytes = carver.bytes();
    return s;
  }

  template <class T>
  void run_as(const Run& run) const {
    using E = typename ComputeType<T>::E;
    if (!partials_) {
      run.pool.each(units(), [&](int64_t index, int thread) {
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
    run.pool.each(units() * layout_.chunks, [&](int64_t index, int thread) {
      const Unit unit = unit_at(run, index / layout_.chunks);
      const int64_t chunk = index % layout_.chunks;
      if (chunk > 0 && chunk * kChunk >= unit.keys) return;
      Scratch<E> s = plan<E>(run.pool.scratch(thread));
      pack_queries<T>(run, unit, s);
      attend_chunk<T>(run, unit, chunk, partial(index / layout_.chunks, chunk), s);
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
    unit.item = index / l.heads / l.blocks;
    const int64_t block = index / l.heads % l.blocks;
    unit.segment = l.segments;
    while (unit.segment + 1 < l.segments + l.segment_count && block >= unit.segment[1].first_block)
      ++unit.segment;
    unit.q_begin = (block - unit.segment->first_block) * kQueries;
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
  RopeTable rope_;
  RelativeBias bias_;
  Block partials_;  // [unit][chunk] Sums, when chunks are units
};

void add_segment(const Node& node, Layout& l, int64_t q_count, int64_t k_count, int q_columns,
                 int k_columns) {
  if (l.segment_count == kMaxSegments) node.fail("ERR_ARGUMENT", "grids: at most %d", kMaxSegments);
  const Segment* last = l.segment_count > 0 ? &l.segments[l.segment_count - 1] : nullptr;
  const int64_t q_first = last != nullptr ? last->q_first + last->q_count : 0;
  const int64_t k_first = last != nullptr ? last->k_first + last->k_count : 0;
  l.segments[l.segment_count++] = {q_first,   q_count,   k_first, k_count,
                                   q_columns, k_columns, l.blocks};
  l.blocks += divide_up(q_count, kQueries);
  l.chunks = larger(l.chunks, divide_up(k_count, kChunk));
}

// Pairs of sides; their number.
int read_grids(const Node& node, const char* name, int64_t* sides) {
  int count = 0;
  node.list(name, &count);
  if (count % 2 != 0 || count > 2 * kMaxSegments)
    node.fail("ERR_ARGUMENT", "%s: expected at most %d pairs, got %d numbers", name, kMaxSegments,
              count);
  integers(node, name, count, sides);
  for (int i = 0; i < count; ++i)
    if (sides[i] < 1 || sides[i] > kMaxSide)
      node.fail("ERR_ARGUMENT", "%s: expected sides from 1 to %d", name, kMaxSide);
  return count / 2;
}

void read_packed(const Node& node, Layout& l) {
  expect(node, !node.has("v"), "k, v: one without the other");
  expect(node, node.value("q").dim(2) % 3 == 0, "q: expected 3 channels per channel of the result");
  l.k_tokens = l.q_tokens;
  l.shared_keys = false;
  int64_t sides[2 * kMaxSegments];
  const int count = read_grids(node, "grids", sides);
  if (count == 0) add_segment(node, l, l.q_tokens, l.q_tokens, 1, 1);
  int64_t total = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t h = sides[2 * i], w = sides[2 * i + 1];
    add_segment(node, l, h * w, h * w, static_cast<int>(w), static_cast<int>(w));
    l.longest_side = static_cast<int>(larger(l.longest_side, larger(h, w)));
    total += h * w;
  }
  expect(node, count == 0 || total == l.q_tokens, "grids: not as many places as tokens");
  if (node.has("rel_h")) {
    expect(node, count == 1, "rel_h, rel_w: expected one grid");
    for (int i = 0; i < 4; ++i) l.rel_sizes[i] = static_cast<int>(sides[i % 2]);
  }
  expect(node, l.rope_theta == 0 || count > 0, "rope_theta: the rotation needs grids");
  expect(node, !node.has("lengths") || l.segment_count == 1, "lengths: expected one grid");
}

void read_unpacked(const Node& node, Layout& l) {
  const Value &q = node.value("q"), &k = node.value("k"), &v = node.value("v");
  expect_rank(node, k, "k", 3);
  expect(node, same_shape(k, v) && k.dtype == q.dtype && v.dtype == q.dtype,
         "k, v: expected one shape, and q's type");
  expect(node, k.dim(2) == q.dim(2) && (k.dim(0) == q.dim(0) || k.dim(0) == 1),
         "k, v: expected q's batch or one, and q's channels");
  expect(node, l.rope_theta == 0, "rope_theta: only for packed q");
  l.k_tokens = k.dim(1);
  l.shared_keys = k.dim(0) == 1;
  add_segment(node, l, l.q_tokens, l.k_tokens, 1, 1);
  if (!node.has("rel_h")) return;
  int64_t q_sides[2 * kMaxSegments], k_sides[2 * kMaxSegments];
  expect(node, read_grids(node, "q_grid", q_sides) == 1 && read_grids(node, "k_grid", k_sides) == 1,
         "q_grid, k_grid: expected one grid each");
  expect(node, q_sides[0] * q_sides[1] == l.q_tokens && k_sides[0] * k_sides[1] == l.k_tokens,
         "q_grid, k_grid: not as many places as tokens");
  for (int i = 0; i < 2; ++i) {
    l.rel_sizes[i] = static_cast<int>(q_sides[i]);
    l.rel_sizes[2 + i] = static_cast<int>(k_sides[i]);
  }
  l.segments[0].q_columns = l.rel_sizes[1];
  l.segments[0].k_columns = l.rel_sizes[3];
}

}  // namespace

Op* compile_attention(const Node& node, Compiler& compiler) {
  const Value& q = node.value("q");
  const Value& result = node.result();
  expect_floats(node, q, "q");
  expect_floats(node, result, "result");
  expect_rank(node, q, "q", 3);
  Layout l{};
  l.packed = !node.has("k");
  l.batch = q.dim(0);
  l.q_tokens = q.dim(1);
  l.rope_theta = node.number("rope_theta");
  l.rope_scale = node.number("rope_scale");
  int64_t heads = 0;
  integers(node, "heads", 1, &heads);
  l.heads = heads;
  const int64_t channels = l.packed ? q.dim(2) / 3 : q.dim(2);
  expect(node, heads > 0 && channels > 0 && channels % heads == 0 && channels / heads <= kMaxHead,
         "heads: not a division of the channels into at most 512 each");
  l.d = static_cast<int>(channels / heads);
  expect(node, l.rope_theta == 0 || l.d % 4 == 0,
         "rope_theta: the rotation needs a multiple of four channels per head");
  expect(node, node.has("rel_h") == node.has("rel_w"), "rel_h, rel_w: one without the other");
  l.packed ? read_packed(node, l) : read_unpacked(node, l);
  expect(node, has_shape(result, {l.batch, l.q_tokens, channels}),
         "result: expected (batch, queries, channels)");
  if (node.has("lengths")) {
    const Value& lengths = node.value("lengths");
    expect(node, lengths.dtype == DType::i32 && has_shape(lengths, {l.batch}),
           "lengths: expected one i32 per item");
  }
  const char* const names[] = {"rel_h", "rel_w"};
  for (int axis = 0; axis < 2 && node.has("rel_h"); ++axis) {
    const Value& rel = node.value(names[axis]);
    expect_f32(node, rel, names[axis]);
    expect(node, has_shape(rel, {l.rel_sizes[axis], l.rel_sizes[2 + axis], l.d}),
           "rel_h, rel_w: expected (queries, keys, channels of a head) along each axis");
  }
  return new Attention(node, l, compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// Attention inside windows, straight from the tokens' qkv rows to the tokens' output rows.
//
// A unit of work is one head of one window of one batch item. Its rows are gathered through an
// index map that knows shift and padding: a padded position reads the one constant qkv row, its
// query is not run, and no pass over memory partitions, rolls, pads or undoes it. Rotary embedding
// is applied on the way in, with coordinates local to the window (only differences matter). Keys
// and values of a window are packed once (256 x 64: 64 KB each in f32, 32 KB in bf16: L2) and
// passed by all its queries; see attention_tile.h for the products.
#include "../plan/window_geometry.h"
#include "attention_tile.h"
#include "carver.h"
#include "relative_bias.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

// Units of work wanted: enough for many threads; beyond it a unit takes several heads of its
// window, and fetches the next one's rows while it works on one.
constexpr int64_t kUnits = 48;

class WindowAttention : public Op {
 public:
  WindowAttention(const Node& node, const Geometry& geometry, Pool& pool)
      : geometry_(geometry),
        qkv_(node.operand("qkv")),
        pad_(node.operand_or("pad")),
        rel_h_(node.operand_or("rel_h")),
        rel_w_(node.operand_or("rel_w")),
        batch_(node.value("qkv").dim(0)),
        heads_(static_cast<int>(node.integer("heads"))),
        channels_(static_cast<int>(node.result().dim(-1))),
        d_(channels_ / heads_),
        in_type_(node.value("qkv").dtype),
        out_type_(node.result().dtype) {
    const int window = geometry.window;
    if (node.number("rope_theta") != 0)
      rope_ = RopeTable(window, d_ / 2, node.number("rope_theta"), node.number("rope_scale"));
    if (rel_h_ >= 0) bias_ = RelativeBias(window, window, window, window, d_);
    pool.reserve(in_type_ == DType::f32 ? plan<float>(nullptr).bytes
                                        : plan<ComputeType<bf16>::E>(nullptr).bytes);
  }

  void run(const Run& run) const override {
    if (bias_) bias_.prepare(run.pool, run.in<float>(rel_h_), run.in<float>(rel_w_));
    const int64_t windows = batch_ * geometry_.windows;
    const int64_t groups = smaller(heads_, divide_up(kUnits, larger(1, windows)));
    run.pool.each(windows * groups, [&](int64_t unit, int thread) {
      const int64_t window = unit / groups, group = unit % groups;
      const int begin = static_cast<int>(group * heads_ / groups);
      const int end = static_cast<int>((group + 1) * heads_ / groups);
      if (in_type_ == DType::f32)
        attend_window<float>(run, window, begin, end, thread);
      else
        attend_window<bf16>(run, window, begin, end, thread);
    });
  }

 private:
  template <class E>
  struct Scratch {
    E *query, *keys, *values;
    GroupScratch<E> group;
    float *row, *out, *masks, *bias, *axes;
    Statistics* statistics;
    Window window;
    int32_t* positions;  // of the queries that run
    size_t bytes;
  };

  template <class E>
  Scratch<E> plan(void* memory) const {
    const HeadLayout<E> head{d_};
    const int count = geometry_.window * geometry_.window;
    const int padded = HeadLayout<E>::padded_keys(count);
    const int rows = HeadLayout<E>::padded_queries(count);
    Carver carver(memory);
    Scratch<E> s;
    s.query = carver.take<E>(head.query_numbers(count));
    s.keys = carver.take<E>(head.key_numbers(count));
    s.values = carver.take<E>(head.value_numbers(count));
    s.group.logits = carver.take<float>(int64_t{kGroup<E>} * padded);
    s.group.probabilities = carver.take<E>(int64_t{kGroup<E>} * padded);
    s.row = carver.take<float>(head.width());
    s.out = carver.take<float>(static_cast<int64_t>(rows) * head.width());
    s.masks = carver.take<float>(kRegions * static_cast<int64_t>(padded));
    s.bias = carver.take<float>(bias_ ? bias_.buffer(count) : 0);
    s.axes = carver.take<float>(bias_ ? static_cast<int64_t>(rows) * bias_.axes() : 0);
    s.statistics = carver.take<Statistics>(rows);
    s.window.tokens = carver.take<int32_t>(count);
    s.window.regions = carver.take<int8_t>(count);
    s.positions = carver.take<int32_t>(count);
    s.bytes = carver.bytes();
    return s;
  }

  template <class T>
  void attend_window(const Run& run, int64_t index, int begin, int end, int thread) const {
    using E = typename ComputeType<T>::E;
    const MultiplyScope<E> scope;
    Scratch<E> s = plan<E>(run.pool.scratch(thread));
    map_window(geometry_, index % geometry_.windows, s.window);
    const int count = geometry_.window * geometry_.window;
    if (s.window.masked) mask_regions(s.window, count, HeadLayout<E>::padded_keys(count), s.masks);
    for (int head = begin; head < end; ++head)
      attend_head<T>(run, index / geometry_.windows, head, head + 1 < end, s);
  }

  // more: the head after this one comes next.
  template <class T, class E>
  void attend_head(const Run& run, int64_t item, int index, bool more, const Scratch<E>& s) const {
    const HeadLayout<E> head{d_};
    const int channel = index * d_;
    const int window = geometry_.window, count = window * window;
    const int64_t stride = 3 * static_cast<int64_t>(channels_);
    const T* qkv = run.in<T>(qkv_) + item * geometry_.tokens * stride + channel;
    const T* pad = pad_ < 0 ? nullptr : run.in<T>(pad_) + channel;
    const auto row_at = [&](int position, int part) {
      const int64_t token = s.window.tokens[position];
      const T* data = (token < 0 ? pad : qkv + token * stride) + part * channels_;
      return HeadRow<T>{data, rope_ ? rope_.at(position / window) : nullptr,
                        rope_ ? rope_.at(position % window) : nullptr};
    };
    pack_keys(
        head, count, [&](int j) { return row_at(j, 1); }, s.keys);
    pack_values(
        head, count, [&](int j) { return row_at(j, 2); }, s.values);

    const float scale = kLog2E / ::sqrtf(static_cast<float>(d_));
    int queries = 0;
    for (int position = 0; position < count; ++position) {
      if (s.window.tokens[position] < 0) continue;
      const HeadRow<T> row = row_at(position, 0);
      load_head(row.data, d_, row.rope_row, row.rope_column, s.row);
      pack_query(head, s.row, scale, s.query + static_cast<int64_t>(queries) * head.depth());
      if (bias_)
        bias_.axes_of(s.row, position / window, position % window, kLog2E,
                      s.axes + static_cast<int64_t>(queries) * bias_.axes());
      s.positions[queries++] = position;
    }
    for (int r = queries; r < HeadLayout<E>::padded_queries(queries); ++r)
      memset(s.query + static_cast<int64_t>(r) * head.depth(), 0, sizeof(E) * head.depth());

    const int padded = HeadLayout<E>::padded_keys(count);
    attend(
        head, s.query, queries, s.keys, s.values, count, true,
        [&](int query) -> const float* {
          if (more) prefetch_next_head(qkv + s.window.tokens[s.positions[query]] * stride);
          const float* mask =
              s.window.masked ? s.masks + s.window.regions[s.positions[query]] * padded : nullptr;
          if (!bias_) return mask;
          return bias_.expand(s.axes + static_cast<int64_t>(query) * bias_.axes(), 0, count, mask,
                              s.bias);
        },
        s.statistics, s.out, s.group);

    const int64_t first = item * geometry_.tokens * channels_ + channel;
    for (int query = 0; query < queries; ++query) {
      const int64_t at =
          first + static_cast<int64_t>(s.window.tokens[s.positions[query]]) * channels_;
      const float* sums = s.out + static_cast<int64_t>(query) * head.width();
      if (out_type_ == DType::f32)
        store_output(sums, s.statistics[query].sum, d_, run.out<float>() + at);
      else
        store_output(sums, s.statistics[query].sum, d_, run.out<bf16>() + at);
    }
  }

  // Asks for a token's query, key and value of the head after this one.
  template <class T>
  void prefetch_next_head(const T* head) const {
    for (int part = 0; part < 3; ++part)
      for (int c = 0; c < d_; c += 64 / static_cast<int>(sizeof(T)))
        __builtin_prefetch(head + part * channels_ + d_ + c, 0, 2);
  }

  Geometry geometry_;
  int qkv_, pad_, rel_h_, rel_w_;
  int64_t batch_;
  int heads_, channels_, d_;
  DType in_type_, out_type_;
  RopeTable rope_;
  RelativeBias bias_;
};

}  // namespace

Op* compile_window_attention(const Node& node, Compiler& compiler) {
  const Geometry g = read_window_attention(node);
  const Value& qkv = node.value("qkv");
  expect_floats(node, node.result(), "result");
  expect(node, has_shape(node.result(), {qkv.dim(0), g.tokens, qkv.dim(2) / 3}),
         "result: not (batch, tokens, channels)");
  return new WindowAttention(node, g, compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// Attention inside windows, straight from the tokens' qkv rows to the tokens' output rows.
//
// A unit of work is one head of one window of one batch item. Its rows are gathered through an
// index map that knows shift and padding: a padded position reads the one constant qkv row, its
// query is not run, and no pass over memory partitions, rolls, pads or undoes it. Rotary embedding
// is applied on the way in, with coordinates local to the window (only differences matter). Keys
// and values of a window are packed once (256 x 64: 64 KB each in f32, 32 KB in bf16: L2) and
// passed by all its queries; see attention_tile.h for the products.
#include "attention_tile.h"
#include "carver.h"
#include "expect.h"
#include "relative_bias.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int kMaxScales = 16;
constexpr int kMaxSide = 1 << 20;
constexpr int kMaxWindow = 128;
constexpr int kRegions = 9;

struct Scale {
  int64_t first_token, first_window;
  int h, w, windows_down, windows_across;
};

struct Geometry {
  int window, before, shift;
  bool cyclic, padded = false;
  int scale_count = 0;
  Scale scales[kMaxScales];
  int64_t tokens = 0, windows = 0;  // of one batch item
};

// One window: for each of its positions, row by row, the token (or −1: padding) and the Swin
// region.
struct Window {
  int32_t* tokens;
  int8_t* regions;
  bool masked;  // more than one region
};

// Swin's slices of a rolled axis: (0, −window), (−window, −shift), (−shift, end).
int slice_of(int position, int length, const Geometry& g) {
  return position < length - g.window ? 0 : position < length - g.shift ? 1 : 2;
}

void map_window(const Geometry& g, int64_t index, Window& out) {
  const Scale* scale = g.scales;
  while (scale + 1 < g.scales + g.scale_count && index >= scale[1].first_window) ++scale;
  index -= scale->first_window;
  const int top = static_cast<int>(index / scale->windows_across) * g.window;
  const int left = static_cast<int>(index % scale->windows_across) * g.window;
  const int height = scale->windows_down * g.window, width = scale->windows_across * g.window;
  out.masked = false;
  for (int i = 0; i < g.window; ++i)
    for (int j = 0; j < g.window; ++j) {
      int y = top + i, x = left + j, region = 0;
      if (g.cyclic) {
        if (g.shift > 0) region = slice_of(y, height, g) * 3 + slice_of(x, width, g);
        y = (y + g.shift) % height;
        x = (x + g.shift) % width;
      } else {
        y -= g.before;
        x -= g.before;
      }
      const int position = i * g.window + j;
      const bool inside = y >= 0 && y < scale->h && x >= 0 && x < scale->w;
      out.tokens[position] =
          inside ? static_cast<int32_t>(scale->first_token + static_cast<int64_t>(y) * scale->w + x)
                 : -1;
      out.regions[position] = static_cast<int8_t>(region);
      out.masked = out.masked || region != out.regions[0];
    }
}

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
    run.pool.each(batch_ * geometry_.windows * heads_, [&](int64_t unit, int thread) {
      if (in_type_ == DType::f32)
        attend_window<float>(run, unit, thread);
      else
        attend_window<bf16>(run, unit, thread);
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
    s.group.logits = carver.take<float>(static_cast<int64_t>(kGroup) * padded);
    s.group.probabilities = carver.take<E>(static_cast<int64_t>(kGroup) * padded);
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
  void attend_window(const Run& run, int64_t unit, int thread) const {
    using E = typename ComputeType<T>::E;
    const HeadLayout<E> head{d_};
    Scratch<E> s = plan<E>(run.pool.scratch(thread));
    const int channel = static_cast<int>(unit % heads_) * d_;
    const int64_t item = unit / heads_ / geometry_.windows;
    const int window = geometry_.window, count = window * window;
    map_window(geometry_, unit / heads_ % geometry_.windows, s.window);

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
    const bool more = channel + d_ < channels_;
    if (s.window.masked) mask_regions(s.window, count, padded, s.masks);
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

  // One row of additions to the logits for each region.
  static void mask_regions(const Window& window, int count, int padded, float* masks) {
    bool present[kRegions] = {};
    for (int j = 0; j < count; ++j) present[window.regions[j]] = true;
    for (int region = 0; region < kRegions; ++region)
      for (int j = 0; present[region] && j < count; ++j)
        masks[region * padded + j] = window.regions[j] == region ? 0 : kMasked;
  }

  Geometry geometry_;
  int qkv_, pad_, rel_h_, rel_w_;
  int64_t batch_;
  int heads_, channels_, d_;
  DType in_type_, out_type_;
  RopeTable rope_;
  RelativeBias bias_;
};

int64_t integer_between(const Node& node, const char* name, int64_t low, int64_t high) {
  const double value = node.number(name);
  if (!(value >= static_cast<double>(low) && value <= static_cast<double>(high)) ||
      value != static_cast<double>(static_cast<int64_t>(value)))
    node.fail("ERR_ARGUMENT", "%s: expected a whole number from %lld to %lld, got %g", name,
              static_cast<long long>(low), static_cast<long long>(high), value);
  return static_cast<int64_t>(value);
}

Geometry read_geometry(const Node& node) {
  Geometry g;
  g.window = static_cast<int>(integer_between(node, "window", 1, kMaxWindow));
  g.cyclic = node.flag("cyclic");
  g.before = static_cast<int>(integer_between(node, "before", 0, g.cyclic ? 0 : g.window - 1));
  g.shift = g.cyclic ? static_cast<int>(integer_between(node, "shift", 0, g.window - 1)) : 0;
  int count = 0;
  node.list("scales", &count);
  if (count == 0 || count % 2 != 0 || count > 2 * kMaxScales)
    node.fail("ERR_ARGUMENT", "scales: expected 1 to %d pairs, got %d numbers", kMaxScales, count);
  int64_t sizes[2 * kMaxScales];
  integers(node, "scales", count, sizes);
  g.scale_count = count / 2;
  for (int i = 0; i < g.scale_count; ++i) {
    const int64_t h = sizes[2 * i], w = sizes[2 * i + 1];
    if (h < 1 || w < 1 || h > kMaxSide || w > kMaxSide)
      node.fail("ERR_ARGUMENT", "scales: expected sides from 1 to %d", kMaxSide);
    Scale& scale = g.scales[i];
    scale.first_token = g.tokens;
    scale.first_window = g.windows;
    scale.h = static_cast<int>(h);
    scale.w = static_cast<int>(w);
    scale.windows_down = static_cast<int>(divide_up(h + g.before, g.window));
    scale.windows_across = static_cast<int>(divide_up(w + g.before, g.window));
    g.padded =
        g.padded || scale.windows_down * g.window != h || scale.windows_across * g.window != w;
    g.tokens += h * w;
    g.windows += static_cast<int64_t>(scale.windows_down) * scale.windows_across;
  }
  return g;
}

}  // namespace

Op* compile_window_attention(const Node& node, Compiler& compiler) {
  const Geometry g = read_geometry(node);
  const Value& qkv = node.value("qkv");
  const Value& result = node.result();
  expect_floats(node, qkv, "qkv");
  expect_floats(node, result, "result");
  expect_rank(node, qkv, "qkv", 3);
  expect(node, g.tokens < (int64_t{1} << 31), "scales: too many tokens");
  const int64_t channels = qkv.dim(2) / 3;
  expect(node, qkv.dim(1) == g.tokens && qkv.dim(2) == 3 * channels,
         "qkv: expected (batch, tokens of all scales, 3 channels)");
  expect(node, has_shape(result, {qkv.dim(0), g.tokens, channels}),
         "result: not (batch, tokens, channels)");
  const int64_t heads = integer_between(node, "heads", 1, 1 << 16);
  const int64_t d = channels / heads;
  expect(node, channels % heads == 0 && d >= 1 && d <= kMaxHead,
         "heads: not a division of the channels");
  expect(node, node.number("rope_theta") == 0 || d % 4 == 0,
         "rope_theta: the rotation needs a multiple of four channels per head");
  if (node.has("pad"))
    expect(node,
           node.value("pad").elements() == 3 * channels && node.value("pad").dtype == qkv.dtype,
           "pad: expected one row like qkv's");
  else
    expect(node, !g.padded, "pad: missing, but the windows have padded positions");
  expect(node, node.has("rel_h") == node.has("rel_w"), "rel_h, rel_w: one without the other");
  if (node.has("rel_h")) {
    expect_f32(node, node.value("rel_h"), "rel_h");
    expect_f32(node, node.value("rel_w"), "rel_w");
    expect(node,
           has_shape(node.value("rel_h"), {g.window, g.window, d}) &&
               has_shape(node.value("rel_w"), {g.window, g.window, d}),
           "rel_h, rel_w: expected (window, window, channels of a head)");
  }
  return new WindowAttention(node, g, compiler.pool);
}

}  // namespace hrsam::cpu::HRSAM_ISA

// The gradients of window attention against partition, padding, roll and mask done one by one in
// double precision.
#include <random>

#include "attention_gradient_reference.h"
#include "harness.h"
#include "window_attention_case.h"

using namespace hrsam::test;

namespace {

struct Expected {
  std::vector<double> qkv, rel;  // rows of qkv, then of pad; rel_h, then rel_w
};

Expected expected(const Case& c, const Data& data) {
  const std::vector<float> dy = data.dy.floats();
  const std::vector<float> rel_h = data.rel_h.floats(), rel_w = data.rel_w.floats();
  const int64_t channels = c.channels(), rows = c.batch * c.tokens();
  const double scale = 1 / std::sqrt(c.d);
  Expected out{std::vector<double>(static_cast<size_t>((rows + 1) * 3 * channels)),
               std::vector<double>(rel_h.size() + rel_w.size())};
  for_each_query(c, data, [&](const Query& query) {
    const auto add = [&](const Place& at, int which, const Row& gradient, double factor) {
      Row turned = gradient;
      if (which < 2 && c.theta != 0)
        turned = rotated(gradient, -at.y * c.rope_scale, -at.x * c.rope_scale, c.theta);
      add_row(out.qkv, (at.row * 3 + which) * channels + query.head * c.d, turned, factor);
    };
    const Row dout = cut(dy, query.place.row * channels + query.head * c.d, c.d);
    const QueryGradient g = query_gradient(query.logits, query.values, dout);
    for (size_t i = 0; i < query.places.size(); ++i) {
      const Place& key = query.places[i];
      add(key, 2, dout, g.p[i]);
      add(key, 1, query.q, g.ds[i] * scale);
      add(query.place, 0, query.keys[i], g.ds[i] * scale);
      if (!c.rel) continue;
      const int64_t down = relative_row(c, query.place.y, key.y);
      const int64_t across = relative_row(c, query.place.x, key.x);
      add(query.place, 0, cut(rel_h, down, c.d), g.ds[i]);
      add(query.place, 0, cut(rel_w, across, c.d), g.ds[i]);
      add_row(out.rel, down, query.q, g.ds[i]);
      add_row(out.rel, static_cast<int64_t>(rel_h.size()) + across, query.q, g.ds[i]);
    }
  });
  return out;
}

Call gradient(const char* op, const Case& c, const Data& data, bool with_pad = true) {
  return window_call(op, c, data, with_pad)
      .input("dy", data.dy)
      .result({c.batch * c.tokens() + 1, 3 * c.channels()}, c.out);
}
Call relative(const Case& c, const Data& data) {
  return gradient("window_attention_relative_gradient", c, data)
      .result({2, c.window, c.window, c.d});
}

template <class T>
std::vector<T> part(const std::vector<T>& of, size_t begin, size_t end) {
  return {of.begin() + static_cast<int64_t>(begin), of.begin() + static_cast<int64_t>(end)};
}

void verify(const Case& c, uint32_t seed = 1) {
  const Data data = make(c, seed);
  const Expected want = expected(c, data);
  const std::vector<float> got = gradient("window_attention_gradient", c, data).run();
  // Where the processor multiplies bf16, queries, keys, P and dS are rounded to it.
  const bool products = c.in == HRSAM_BF16 && c.dy == HRSAM_BF16 && !c.rel;
  const double tolerance = products ? 8e-3 : c.out == HRSAM_BF16 ? 4e-3 : 4e-6;
  const auto rows = static_cast<size_t>(c.batch * c.tokens() * 3 * c.channels());
  CHECK_CLOSE(part(got, 0, rows), part(want.qkv, 0, rows), tolerance);
  CHECK_CLOSE(part(got, rows, got.size()), part(want.qkv, rows, want.qkv.size()), tolerance);
  if (c.rel) CHECK_CLOSE(relative(c, data).run(), want.rel, 4e-6);
}

}  // namespace

TEST(plain_and_shifted_windows) {
  for (const int before : {0, 2, 3}) {
    verify({.scales = {8, 12}, .before = before});
    verify({.scales = {7, 10}, .batch = 2, .before = before});
    verify({.scales = {1, 2}, .before = before});
    verify({.scales = {3, 17}, .before = before, .theta = 0});
  }
}

TEST(several_scales) {
  verify({.scales = {6, 9, 4, 4, 1, 5}, .batch = 2});
  verify({.scales = {6, 9, 4, 4, 1, 5}, .batch = 2, .before = 2});
}

TEST(windows_and_head_sizes) {
  for (const int window : {2, 5, 7, 14, 16})
    for (const int d : {8, 12, 16, 24, 32, 64, 80})
      verify({.scales = {11, 18}, .window = window, .heads = 1, .d = d, .before = window / 2});
  for (const int d : {1, 3, 17, 33})
    verify({.scales = {5, 9}, .heads = 3, .d = d, .before = 1, .theta = 0});
}

// A window of one position has nothing to choose from: no gradient but the value's.
TEST(windows_of_one) {
  const Case c{.scales = {3, 5}, .window = 1};
  const Data data = make(c, 1);
  const std::vector<float> dy = data.dy.floats();
  const std::vector<float> got = gradient("window_attention_gradient", c, data).run();
  for (int64_t row = 0; row <= c.tokens(); ++row)
    for (int64_t i = 0; i < 3 * c.channels(); ++i) {
      const bool value = row < c.tokens() && i >= 2 * c.channels();
      const double want = value ? dy[row * c.channels() + i - 2 * c.channels()] : 0;
      CHECK_LE(std::fabs(got[row * 3 * c.channels() + i] - want), 1e-6);
    }
}

TEST(the_models_own_shape) {
  verify({.scales = {32, 32}, .window = 16, .heads = 2, .d = 64});
  verify({.scales = {32, 32}, .window = 16, .heads = 2, .d = 64, .before = 8});
}

TEST(the_models_own_types) {
  for (const int before : {0, 8})
    verify({.scales = {24, 20},
            .window = 16,
            .heads = 2,
            .d = 64,
            .before = before,
            .in = HRSAM_BF16,
            .dy = HRSAM_BF16,
            .out = HRSAM_BF16});
  // Windows whose keys fill up differently for products of f32 and of bf16, in all regions.
  for (const int window : {2, 3, 4, 5, 6, 10, 14})
    verify({.scales = {2 * window, 2 * window},
            .window = window,
            .shift = window / 2,
            .in = HRSAM_BF16,
            .dy = HRSAM_BF16});
}

TEST(relative_position_bias) {
  for (const int window : {3, 7, 14, 16})
    verify({.scales = {9, 17}, .window = window, .d = 20, .theta = 0, .rel = true});
  verify({.scales = {9, 17, 4, 4}, .window = 5, .d = 8, .batch = 2, .theta = 0, .rel = true});
  verify({.scales = {40, 40}, .window = 5, .d = 8, .before = 2, .theta = 0, .rel = true});
}

TEST(cyclic_shift) {
  for (const int shift : {0, 1, 2, 3}) {
    verify({.scales = {8, 12}, .shift = shift, .theta = 0});
    verify({.scales = {7, 10}, .batch = 2, .shift = shift});
    verify({.scales = {7, 10}, .d = 12, .shift = shift, .theta = 0, .rel = true});
  }
}

TEST(types) {
  for (const int in : {HRSAM_F32, HRSAM_BF16})
    for (const int dy : {HRSAM_F32, HRSAM_BF16})
      for (const int out : {HRSAM_F32, HRSAM_BF16})
        for (const int d : {8, 24, 80})
          verify({.scales = {7, 10}, .d = d, .before = 2, .in = in, .dy = dy, .out = out});
  verify({.scales = {9, 9}, .window = 7, .d = 20, .theta = 0, .rel = true, .in = HRSAM_BF16});
}

TEST(random_calls) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int i = 0; i < random_cases(40); ++i) {
    Case c{.scales = {1 + below(12), 1 + below(12)}, .window = 2 + below(8)};
    if (below(2) == 0) c.scales.insert(c.scales.end(), {1 + below(6), 1 + below(6)});
    c.heads = 1 + below(3);
    c.d = 4 * (1 + below(10));
    c.batch = 1 + below(2);
    (below(2) == 1 ? c.shift : c.before) = below(c.window);
    c.theta = below(2) == 0 ? 0 : 1e4;
    c.rel = c.theta == 0 && below(2) == 0;
    if (below(2) == 0) {
      c.d = 8 * (1 + below(12));
      c.in = c.dy = HRSAM_BF16;
      c.out = below(2) == 0 ? HRSAM_BF16 : HRSAM_F32;
    }
    verify(c, static_cast<uint32_t>(100 + i));
  }
}

// More keys than tensor cores keep on the chip, and than a block owns.
TEST(large_windows_in_bf16) {
  for (const int before : {0, 9})
    verify({.scales = {20, 33},
            .window = 18,
            .heads = 1,
            .d = 32,
            .batch = 2,
            .before = before,
            .in = HRSAM_BF16,
            .dy = HRSAM_BF16});
}

// Logits of hundreds: no power overflows, in a padded window either.
TEST(large_logits) {
  for (const int type : {HRSAM_F32, HRSAM_BF16}) {
    const Case c{.scales = {9, 6}, .window = 5, .d = 16, .before = 2, .in = type, .dy = type};
    Data data = make(c, 5);
    data.qkv = random_tensor({c.batch, c.tokens(), 3 * c.channels()}, 5, type, 20);
    for (const float x : gradient("window_attention_gradient", c, data).run())
      CHECK(std::isfinite(x));
  }
}

TEST(pad_row_only_where_needed) {
  const Case whole{.scales = {8, 8}}, part{.scales = {8, 9}};
  const char* op = "window_attention_gradient";
  CHECK(gradient(op, whole, make(whole, 1), false).run() ==
        gradient(op, whole, make(whole, 1)).run());
  CHECK_EQ(gradient(op, part, make(part, 1), false).error(), "ERR_SHAPE");
}

TEST(wrong_plans) {
  const Case good{.scales = {4, 4}, .rel = true};
  const Data data = make(good, 1);
  for (const char* op : {"window_attention_gradient", "window_attention_relative_gradient"}) {
    const bool rel = op[17] == 'r';
    const auto with = [&](auto change) {
      Case c = good;
      Data d = data;
      change(c, d);
      Call call = gradient(op, c, d);
      return (rel ? call.result({2, 4, 4, 16}) : call.result({17, 96})).error();
    };
    CHECK_EQ(with([](Case&, Data&) {}), "");
    CHECK_EQ(with([](Case& c, Data&) { c.heads = 3; }), "ERR_SHAPE");
    CHECK_EQ(with([](Case& c, Data&) { c.window = 0; }), "ERR_ARGUMENT");
    CHECK_EQ(with([](Case& c, Data&) { c.scales = {4, 5}; }), "ERR_SHAPE");
    CHECK_EQ(with([](Case&, Data& d) { d.dy = random_tensor({1, 15, 32}, 1); }), "ERR_SHAPE");
    CHECK_EQ(with([](Case&, Data& d) { d.dy = random_tensor({1, 16, 96}, 1); }), "ERR_SHAPE");
    CHECK_EQ(with([](Case&, Data& d) { d.rel_h = random_tensor({4, 4, 8}, 1); }), "ERR_SHAPE");
    CHECK_EQ(gradient(op, good, data).result({17, 95}).error(), "ERR_SHAPE");
  }
}

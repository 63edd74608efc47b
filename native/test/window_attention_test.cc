// window_attention against partition, padding, roll and mask done one by one in double precision.
#include <random>

#include "harness.h"
#include "window_attention_case.h"

using namespace hrsam::test;

namespace {

std::vector<double> expected(const Case& c, const Data& data) {
  std::vector<double> out(static_cast<size_t>(c.batch * c.tokens() * c.channels()));
  for_each_query(c, data, [&](const Query& query) {
    const Row result = weighted(query.logits, query.values);
    std::copy(result.begin(), result.end(),
              out.begin() + query.place.row * c.channels() + query.head * c.d);
  });
  return out;
}

Call window_attention(const Case& c, const Data& data, bool with_pad = true) {
  return window_call("window_attention", c, data, with_pad)
      .result({c.batch, c.tokens(), c.channels()}, c.out);
}

void verify(const Case& c, uint32_t seed = 1) {
  const Data data = make(c, seed);
  const double tolerance = c.in == HRSAM_BF16 ? 1.2e-2 : c.out == HRSAM_BF16 ? 4e-3 : 2e-6;
  CHECK_CLOSE(window_attention(c, data).run(), expected(c, data), tolerance);
}

}  // namespace

TEST(plain_and_shifted_windows) {
  for (const int before : {0, 2, 3}) {
    verify({.scales = {8, 12}, .before = before});
    verify({.scales = {7, 10}, .batch = 2, .before = before});
    verify({.scales = {1, 1}, .before = before});
    verify({.scales = {3, 17}, .before = before, .theta = 0});
  }
}

TEST(several_scales) {
  verify({.scales = {6, 9, 4, 4, 1, 5}, .batch = 2});
  verify({.scales = {6, 9, 4, 4, 1, 5}, .batch = 2, .before = 2});
}

TEST(windows_and_head_sizes) {
  for (const int window : {1, 2, 5, 7, 14, 16})
    for (const int d : {4, 12, 16, 24, 32, 64, 80})
      verify({.scales = {11, 18}, .window = window, .heads = 1, .d = d, .before = window / 2});
  for (const int d : {1, 3, 17, 33})
    verify({.scales = {5, 9}, .heads = 3, .d = d, .before = 1, .theta = 0});
}

TEST(the_models_own_shape) {
  verify({.scales = {32, 32}, .window = 16, .heads = 2, .d = 64});
  verify({.scales = {32, 32}, .window = 16, .heads = 2, .d = 64, .before = 8});
}

// As GPUs run it: whole windows, borders of padding on every side, more windows than processors.
TEST(the_models_own_shape_in_bf16) {
  const Case model{.scales = {32, 32}, .window = 16, .heads = 1, .d = 64, .in = HRSAM_BF16};
  for (const int before : {0, 8, 15}) {
    Case moved = model;
    moved.before = before;
    verify(moved);
    moved.scales = {20, 21, 5, 9, 1, 1};
    moved.heads = 2;
    moved.out = HRSAM_BF16;
    verify(moved);
  }
  Case other = model;
  other.theta = 0;
  other.scales = {21, 16};
  other.batch = 2;
  verify(other);
  other.rel = true;
  verify(other);
  other.rel = false;
  other.shift = 8;
  verify(other);
}

// More keys than tensor cores keep on the chip.
TEST(large_windows_in_bf16) {
  for (const int d : {8, 64, 96})
    verify({.scales = {20, 33},
            .window = 18,
            .heads = 1,
            .d = d,
            .batch = 2,
            .before = 9,
            .in = HRSAM_BF16});
  verify({.scales = {20, 20}, .window = 20, .d = 32, .theta = 0, .rel = true, .in = HRSAM_BF16});
}

TEST(relative_position_bias) {
  for (const int window : {3, 7, 14, 16})
    verify({.scales = {9, 17}, .window = window, .d = 20, .theta = 0, .rel = true});
}

TEST(cyclic_shift_keeps_regions_apart) {
  for (const int shift : {0, 1, 2}) {
    verify({.scales = {8, 12}, .batch = 2, .shift = shift});
    verify({.scales = {7, 10, 5, 4}, .shift = shift});
    verify({.scales = {3, 2}, .shift = shift, .theta = 0});
    verify({.scales = {7, 10}, .d = 12, .shift = shift, .theta = 0, .rel = true});
  }
}

TEST(types) {
  for (const int in : {HRSAM_F32, HRSAM_BF16})
    for (const int out : {HRSAM_F32, HRSAM_BF16})
      for (const int d : {8, 24, 64, 80})
        verify({.scales = {7, 10}, .d = d, .before = 2, .in = in, .out = out});
  verify({.scales = {9, 9}, .window = 7, .d = 20, .theta = 0, .rel = true, .in = HRSAM_BF16});
}

TEST(random_calls) {
  std::mt19937 random(7);
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int i = 0; i < random_cases(40); ++i) {
    Case c{.scales = {1 + below(12), 1 + below(12)}, .window = 1 + below(9)};
    if (below(2) == 0) c.scales.insert(c.scales.end(), {1 + below(6), 1 + below(6)});
    c.heads = 1 + below(3);
    c.d = 4 * (1 + below(10));
    c.batch = 1 + below(2);
    (below(2) == 1 ? c.shift : c.before) = below(c.window);
    c.theta = below(2) == 0 ? 0 : 1e4;
    verify(c, static_cast<uint32_t>(100 + i));
  }
}

// Huge logits must neither overflow nor vanish.
TEST(large_logits) {
  Case c{.scales = {4, 4}, .d = 16, .theta = 0};
  Data data = make(c, 3);
  std::vector<float> values = data.qkv.floats();
  for (float& x : values) x *= 40;
  data.qkv = tensor<float>(data.qkv.dims, values);
  CHECK_CLOSE(window_attention(c, data).run(), expected(c, data), 2e-4);
}

TEST(a_batch_equals_its_items) {
  Case c{.scales = {6, 9, 3, 3}, .batch = 3, .before = 2};
  const Data data = make(c, 5);
  const std::vector<float> all = window_attention(c, data).run();
  Case one = c;
  one.batch = 1;
  const size_t size = data.qkv.bytes.size() / 3;
  for (size_t b = 0; b < 3; ++b) {
    Data item = data;
    item.qkv.dims[0] = 1;
    const auto begin = data.qkv.bytes.begin() + static_cast<int64_t>(b * size);
    item.qkv.bytes = std::vector<uint8_t>(begin, begin + static_cast<int64_t>(size));
    const std::vector<float> alone = window_attention(one, item).run();
    CHECK(std::equal(alone.begin(), alone.end(),
                     all.begin() + static_cast<int64_t>(b * alone.size())));
  }
}

TEST(pad_row_only_where_needed) {
  const Case whole{.scales = {8, 8}}, part{.scales = {8, 9}}, moved{.scales = {8, 8}, .before = 1};
  CHECK_CLOSE(window_attention(whole, make(whole, 1), false).run(), expected(whole, make(whole, 1)),
              2e-6);
  CHECK_EQ(window_attention(part, make(part, 1), false).error(), "ERR_SHAPE");
  CHECK_EQ(window_attention(moved, make(moved, 1), false).error(), "ERR_SHAPE");
}

TEST(wrong_plans) {
  const Case good{.scales = {4, 4}};
  const Data data = make(good, 1);
  const auto with = [&](auto change) {
    Case c = good;
    change(c);
    Call call = window_attention(c, data);
    return call.result({1, 16, 32}).error();
  };
  CHECK_EQ(with([](Case&) {}), "");
  CHECK_EQ(with([](Case& c) { c.heads = 3; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c) { c.heads = 16; }), "ERR_SHAPE");  // d 2 cannot be rotated
  CHECK_EQ(with([](Case& c) { c.heads = 0; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.window = 0; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.before = 4; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.before = -1; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.shift = 4; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.shift = c.before = 1; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.scales = {4, 5}; }), "ERR_SHAPE");
  CHECK_EQ(with([](Case& c) { c.scales = {4}; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.scales = {}; }), "ERR_ARGUMENT");
  CHECK_EQ(with([](Case& c) { c.scales = {0, 4}; }), "ERR_ARGUMENT");
}

// window_attention against partition, padding, roll and mask done one by one in double precision.
#include <random>

#include "attention_reference.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

struct Case {
  std::vector<int> scales;  // h0, w0, h1, w1 …
  int window = 4, heads = 2, d = 16, batch = 1;
  int before = 0, shift = 0;
  double theta = 1e4, rope_scale = 0.5;
  bool rel = false;
  int in = HRSAM_F32, out = HRSAM_F32;

  int64_t channels() const { return int64_t{heads} * d; }
  int64_t tokens() const {
    int64_t n = 0;
    for (size_t i = 0; i < scales.size(); i += 2) n += int64_t{scales[i]} * scales[i + 1];
    return n;
  }
};

struct Data {
  Tensor qkv, pad, rel_h, rel_w;
};

Data make(const Case& c, uint32_t seed) {
  return {random_tensor({c.batch, c.tokens(), 3 * c.channels()}, seed, c.in),
          random_tensor({1, 3 * c.channels()}, seed + 1, c.in),
          random_tensor({c.window, c.window, c.d}, seed + 2, HRSAM_F32, 0.3),
          random_tensor({c.window, c.window, c.d}, seed + 3, HRSAM_F32, 0.3)};
}

// Swin's region of a position on a rolled axis.
int region(int position, int length, const Case& c) {
  if (c.shift == 0) return 0;
  return position < length - c.window ? 0 : position < length - c.shift ? 1 : 2;
}

std::vector<double> expected(const Case& c, const Data& data) {
  const std::vector<float> qkv = data.qkv.floats(), pad = data.pad.floats();
  const std::vector<float> rel_h = data.rel_h.floats(), rel_w = data.rel_w.floats();
  const int ws = c.window;
  const int64_t channels = c.channels();
  std::vector<double> out(static_cast<size_t>(c.batch * c.tokens() * channels));
  int64_t first = 0;
  for (size_t s = 0; s < c.scales.size(); s += 2) {
    const int h = c.scales[s], w = c.scales[s + 1];
    const int height = (h + c.before + ws - 1) / ws * ws, width = (w + c.before + ws - 1) / ws * ws;
    // The token at a place of the padded (and rolled) grid; -1: padding.
    const auto token = [&](int y, int x) -> int64_t {
      y = c.shift != 0 ? (y + c.shift) % height : y - c.before;
      x = c.shift != 0 ? (x + c.shift) % width : x - c.before;
      return y < 0 || x < 0 || y >= h || x >= w ? -1 : first + int64_t{y} * w + x;
    };
    for (int64_t b = 0; b < c.batch; ++b)
      for (int head = 0; head < c.heads; ++head) {
        const auto part = [&](int y, int x, int which) {
          const int64_t t = token(y, x), at = which * channels + head * c.d;
          Row row =
              t < 0 ? cut(pad, at, c.d) : cut(qkv, (b * c.tokens() + t) * 3 * channels + at, c.d);
          if (which < 2 && c.theta != 0)
            row = rotated(row, y * c.rope_scale, x * c.rope_scale, c.theta);
          return row;
        };
        for (int y = 0; y < height; ++y)
          for (int x = 0; x < width; ++x) {
            if (token(y, x) < 0) continue;
            const int top = y / ws * ws, left = x / ws * ws;
            const Row q = part(y, x, 0);
            Row logits;
            Rows values;
            for (int ky = top; ky < top + ws; ++ky)
              for (int kx = left; kx < left + ws; ++kx) {
                double logit = dot(q, part(ky, kx, 1)) / std::sqrt(c.d);
                if (c.rel)
                  logit += dot(q, cut(rel_h, ((y - top) * ws + ky - top) * c.d, c.d)) +
                           dot(q, cut(rel_w, ((x - left) * ws + kx - left) * c.d, c.d));
                if (region(y, height, c) != region(ky, height, c) ||
                    region(x, width, c) != region(kx, width, c))
                  logit = -INFINITY;
                logits.push_back(logit);
                values.push_back(part(ky, kx, 2));
              }
            const Row result = weighted(logits, values);
            std::copy(result.begin(), result.end(),
                      out.begin() + (b * c.tokens() + token(y, x)) * channels + head * c.d);
          }
      }
    first += int64_t{h} * w;
  }
  return out;
}

Call window_attention(const Case& c, const Data& data, bool with_pad = true) {
  Call call("window_attention");
  call.input("qkv", data.qkv);
  if (with_pad) call.constant("pad", data.pad);
  if (c.rel) call.input("rel_h", data.rel_h).constant("rel_w", data.rel_w);
  return call.attribute("heads", c.heads)
      .attribute("window", c.window)
      .attribute("before", c.before)
      .attribute("shift", c.shift)
      .attribute("rope_theta", c.theta)
      .attribute("rope_scale", c.rope_scale)
      .attribute("scales", std::vector<double>(c.scales.begin(), c.scales.end()))
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

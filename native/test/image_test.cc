// Pictures in, masks out: preprocess, mask_threshold, bilinear_resize and the encoding of masks.
#include <numeric>
#include <random>

#include "../image/mask_encode.h"
#include "harness.h"

using namespace hrsam::test;
using hrsam::image::MaskSummary;
using hrsam::image::summarise_mask;

namespace {

// One axis of torch's interpolate(align_corners=False), in double precision.
struct Axis {
  std::vector<int64_t> lo, hi;
  std::vector<double> weight;
  Axis(int64_t in, int64_t out) {
    for (int64_t i = 0; i < out; ++i) {
      const double at = std::max(0.0, (i + 0.5) * in / out - 0.5);
      lo.push_back(static_cast<int64_t>(at));
      hi.push_back(std::min(lo.back() + 1, in - 1));
      weight.push_back(at - lo.back());
    }
  }
};

// (h, w) -> (out_h, out_w), element i at values[i * stride].
std::vector<double> bilinear(const std::vector<double>& x, int64_t h, int64_t w, int64_t out_h,
                             int64_t out_w) {
  const Axis rows(h, out_h), columns(w, out_w);
  std::vector<double> out;
  const auto at = [&](int64_t y, int64_t i) { return x[static_cast<size_t>(y * w + i)]; };
  for (size_t y = 0; y < static_cast<size_t>(out_h); ++y)
    for (size_t i = 0; i < static_cast<size_t>(out_w); ++i) {
      const double fy = rows.weight[y], fx = columns.weight[i];
      const int64_t y0 = rows.lo[y], y1 = rows.hi[y], x0 = columns.lo[i], x1 = columns.hi[i];
      out.push_back((1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x1)) +
                    fy * ((1 - fx) * at(y1, x0) + fx * at(y1, x1)));
    }
  return out;
}

// Every `stride`-th element, count of them.
std::vector<double> strided(const std::vector<float>& x, size_t begin, size_t stride,
                            size_t count) {
  std::vector<double> out;
  for (size_t i = 0; i < count; ++i) out.push_back(x[begin + i * stride]);
  return out;
}

struct Resize {
  int64_t h, w, out_h, out_w;
};
const Resize kResizes[] = {{1, 1, 1, 1},   {1, 1, 5, 7},     {5, 7, 1, 1},      {9, 13, 9, 13},
                           {8, 8, 32, 32}, {20, 31, 31, 48}, {50, 33, 32, 21},  {3, 64, 17, 5},
                           {64, 3, 5, 77}, {17, 40, 33, 1},  {33, 47, 70, 100}, {100, 70, 14, 20}};

// Pillow's resize with the triangle filter along one axis, straight from its definition.
std::vector<uint8_t> pillow_axis(const std::vector<uint8_t>& from, int64_t lines, int64_t in,
                                 int64_t out, int64_t line_stride, int64_t stride) {
  // Result: lines × out.
  std::vector<uint8_t> result(static_cast<size_t>(lines * out));
  const double scale = static_cast<double>(in) / out, support = std::max(scale, 1.0);
  for (int64_t i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int begin = std::max(0, static_cast<int>(center - support + 0.5));
    const int end = std::min(static_cast<int>(in), static_cast<int>(center + support + 0.5));
    std::vector<double> weight;
    for (int j = begin; j < end; ++j)
      weight.push_back(std::max(0.0, 1 - std::fabs((j - center + 0.5) * (1 / support))));
    const double sum = std::accumulate(weight.begin(), weight.end(), 0.0);
    for (int64_t line = 0; line < lines; ++line) {
      int64_t total = 1 << 21;
      for (int j = begin; j < end; ++j)
        total +=
            static_cast<int64_t>(0.5 + weight[static_cast<size_t>(j - begin)] / sum * (1 << 22)) *
            from[static_cast<size_t>(line * line_stride + j * stride)];
      result[static_cast<size_t>(line * out + i)] =
          static_cast<uint8_t>(std::min<int64_t>(255, total >> 22));
    }
  }
  return result;
}

// One channel of an interleaved picture, resized as Pillow does.
std::vector<uint8_t> pillow(const std::vector<uint8_t>& pixels, const Resize& r, int64_t channels,
                            int64_t channel) {
  std::vector<uint8_t> plane;
  for (size_t i = static_cast<size_t>(channel); i < pixels.size();
       i += static_cast<size_t>(channels))
    plane.push_back(pixels[i]);
  const std::vector<uint8_t> wide = pillow_axis(plane, r.h, r.w, r.out_w, r.w, 1);
  const std::vector<uint8_t> turned = pillow_axis(wide, r.out_w, r.h, r.out_h, 1, r.out_w);
  std::vector<uint8_t> result(turned.size());
  for (int64_t y = 0; y < r.out_h; ++y)
    for (int64_t x = 0; x < r.out_w; ++x)
      result[static_cast<size_t>(y * r.out_w + x)] = turned[static_cast<size_t>(x * r.out_h + y)];
  return result;
}

constexpr double kMean[] = {123.675, 116.28, 103.53}, kStd[] = {58.395, 57.12, 57.375};

Call preprocess(const Tensor& pixels, const Resize& r, int64_t pad_h, int64_t pad_w, int antialias,
                int swap) {
  return Call("preprocess")
      .input("pixels", pixels)
      .attribute("size", {static_cast<double>(r.out_h), static_cast<double>(r.out_w)})
      .attribute("padded", {static_cast<double>(pad_h), static_cast<double>(pad_w)})
      .attribute("mean", {kMean[0], kMean[1], kMean[2]})
      .attribute("std", {kStd[0], kStd[1], kStd[2]})
      .attribute("antialias", antialias)
      .attribute("swap", swap)
      .result({1, 3, pad_h, pad_w});
}

// The planes of `got` are the planes of `want` (u8 levels), normalised, and zero elsewhere.
void check_planes(const std::vector<float>& got, const std::vector<std::vector<double>>& want,
                  const Resize& r, int64_t pad_h, int64_t pad_w, double tolerance) {
  std::vector<double> expected;
  for (size_t plane = 0; plane < 3; ++plane)
    for (int64_t y = 0; y < pad_h; ++y)
      for (int64_t x = 0; x < pad_w; ++x)
        expected.push_back(
            y < r.out_h && x < r.out_w
                ? (want[plane][static_cast<size_t>(y * r.out_w + x)] - kMean[plane]) / kStd[plane]
                : 0);
  CHECK_MAX(got, expected, tolerance);
}

Call mask_threshold(const Tensor& logits, std::vector<double> input, std::vector<double> crop,
                    const Dims& original, double threshold = 0) {
  return Call("mask_threshold")
      .input("logits", logits)
      .attribute("input", std::move(input))
      .attribute("crop", std::move(crop))
      .attribute("original", {static_cast<double>(original[0]), static_cast<double>(original[1])})
      .attribute("threshold", threshold)
      .result({logits.dims[0], logits.dims[1], original[0], original[1]}, HRSAM_U8);
}

// Column by column, pixel by pixel.
std::vector<uint32_t> plain_counts(const std::vector<uint8_t>& mask, int64_t h, int64_t w) {
  std::vector<uint32_t> counts{0};
  bool inside = false;
  for (int64_t x = 0; x < w; ++x)
    for (int64_t y = 0; y < h; ++y) {
      const bool set = mask[static_cast<size_t>(y * w + x)] != 0;
      if (set != inside) counts.push_back(0);
      inside = set;
      ++counts.back();
    }
  return counts;
}

}  // namespace

TEST(bilinear_resize_channels_first) {
  for (const Resize& r : kResizes)
    for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
      const Tensor x = random_tensor({2, 3, r.h, r.w}, 7, dtype);
      const std::vector<float> got = Call("bilinear_resize")
                                         .input("x", x)
                                         .attribute("size", {double(r.out_h), double(r.out_w)})
                                         .attribute("channels_last", 0)
                                         .result({2, 3, r.out_h, r.out_w}, dtype)
                                         .run();
      const size_t in = static_cast<size_t>(r.h * r.w),
                   out = static_cast<size_t>(r.out_h * r.out_w);
      for (size_t plane = 0; plane < 6; ++plane)
        CHECK_CLOSE(strided(got, plane * out, 1, out),
                    bilinear(strided(x.floats(), plane * in, 1, in), r.h, r.w, r.out_h, r.out_w),
                    dtype == HRSAM_F32 ? 1e-6 : 5e-3);
    }
}

TEST(bilinear_resize_channels_last) {
  for (const Resize& r : kResizes)
    for (const int64_t channels : {1, 5, 16, 33}) {
      const Tensor x = random_tensor({2, r.h, r.w, channels}, 8);
      const std::vector<float> got = Call("bilinear_resize")
                                         .input("x", x)
                                         .attribute("size", {double(r.out_h), double(r.out_w)})
                                         .attribute("channels_last", 1)
                                         .result({2, r.out_h, r.out_w, channels})
                                         .run();
      const size_t c = static_cast<size_t>(channels), in = static_cast<size_t>(r.h * r.w),
                   out = static_cast<size_t>(r.out_h * r.out_w);
      for (const size_t image : {0, 1})
        for (const size_t channel : {size_t{0}, c - 1})
          CHECK_CLOSE(strided(got, image * out * c + channel, c, out),
                      bilinear(strided(x.floats(), image * in * c + channel, c, in), r.h, r.w,
                               r.out_h, r.out_w),
                      1e-6);
    }
}

TEST(bilinear_resize_rejects_wrong_plans) {
  const Tensor x = random_tensor({1, 4, 5, 6}, 1);
  Call wrong_size = Call("bilinear_resize").input("x", x).attribute("channels_last", 0);
  wrong_size.attribute("size", {8, 9}).result({1, 4, 8, 8});
  CHECK_EQ(wrong_size.error(), "ERR_SHAPE");
  Call fraction = Call("bilinear_resize").input("x", x).attribute("channels_last", 0);
  fraction.attribute("size", {8.5, 9}).result({1, 4, 8, 9});
  CHECK_EQ(fraction.error(), "ERR_ARGUMENT");
  Call empty = Call("bilinear_resize").input("x", random_tensor({1, 4, 0, 6}, 1));
  empty.attribute("channels_last", 0).attribute("size", {8, 9}).result({1, 4, 8, 9});
  CHECK_EQ(empty.error(), "ERR_SHAPE");
}

TEST(preprocess_as_pillow) {
  for (const Resize& r : kResizes)
    for (const int64_t channels : {1, 3, 4}) {
      const Tensor pixels = random_tensor({r.h, r.w, channels}, 9, HRSAM_U8);
      const int64_t pad_h = r.out_h + 3, pad_w = r.out_w + 18;
      std::vector<std::vector<double>> want;
      for (int64_t plane = 0; plane < 3; ++plane) {
        const auto levels = pillow(pixels.bytes, r, channels, channels == 1 ? 0 : plane);
        want.emplace_back(levels.begin(), levels.end());
      }
      check_planes(preprocess(pixels, r, pad_h, pad_w, 1, 0).run(), want, r, pad_h, pad_w, 1e-6);
    }
}

// More than one band of rows, more than one group of columns, strong reduction.
TEST(preprocess_as_pillow_large) {
  for (const Resize& r : {Resize{700, 911, 123, 160}, Resize{300, 2500, 90, 750},
                          Resize{3000, 20, 75, 1}, Resize{97, 131, 197, 266}}) {
    const Tensor pixels = random_tensor({r.h, r.w, 3}, 10, HRSAM_U8);
    std::vector<std::vector<double>> want;
    for (int64_t plane = 0; plane < 3; ++plane) {
      const auto levels = pillow(pixels.bytes, r, 3, plane);
      want.emplace_back(levels.begin(), levels.end());
    }
    check_planes(preprocess(pixels, r, r.out_h, r.out_w, 1, 0).run(), want, r, r.out_h, r.out_w,
                 1e-6);
  }
}

TEST(preprocess_without_antialiasing) {
  for (const Resize& r : kResizes)
    for (const int64_t channels : {1, 3, 4}) {
      const Tensor pixels = random_tensor({r.h, r.w, channels}, 11, HRSAM_U8);
      const int64_t pad_h = r.out_h + 17, pad_w = r.out_w + 1;
      const size_t c = static_cast<size_t>(channels), in = static_cast<size_t>(r.h * r.w);
      std::vector<std::vector<double>> want;
      for (size_t plane = 0; plane < 3; ++plane)
        want.push_back(bilinear(strided(pixels.floats(), channels == 1 ? 0 : plane, c, in), r.h,
                                r.w, r.out_h, r.out_w));
      check_planes(preprocess(pixels, r, pad_h, pad_w, 0, 0).run(), want, r, pad_h, pad_w, 4e-6);
    }
}

// BGR order: plane 0 holds blue, with mean[0] and std[0].
TEST(preprocess_swaps_channels) {
  const Resize same{5, 6, 5, 6};
  const Tensor pixels = random_tensor({5, 6, 3}, 12, HRSAM_U8);
  std::vector<std::vector<double>> want;
  for (const size_t channel : {2, 1, 0}) want.push_back(strided(pixels.floats(), channel, 3, 30));
  for (const int antialias : {0, 1})
    check_planes(preprocess(pixels, same, 5, 6, antialias, 1).run(), want, same, 5, 6, 1e-6);
}

TEST(preprocess_rejects_wrong_plans) {
  const Resize r{5, 6, 10, 12};
  const auto pixels = [](int64_t channels, int64_t h = 5) {
    return random_tensor({h, 6, channels}, 1, HRSAM_U8);
  };
  CHECK_EQ(preprocess(pixels(2), r, 16, 16, 1, 0).error(), "ERR_SHAPE");
  CHECK_EQ(preprocess(pixels(3, 0), r, 16, 16, 1, 0).error(), "ERR_SHAPE");
  CHECK_EQ(preprocess(pixels(3), r, 9, 16, 1, 0).error(), "ERR_SHAPE");
  CHECK_EQ(preprocess(pixels(3), {5, 6, 0, 12}, 16, 16, 0, 0).error(), "ERR_SHAPE");
  CHECK_EQ(preprocess(random_tensor({5, 6, 3}, 1), r, 16, 16, 0, 0).error(), "ERR_SHAPE");
}

TEST(mask_threshold_is_two_resizes) {
  struct Case {
    int64_t low_h, low_w, in_h, in_w, crop_h, crop_w, out_h, out_w;
  };
  for (const Case& c : {Case{64, 64, 256, 256, 256, 171, 300, 200},
                        {64, 64, 256, 256, 171, 256, 60, 90},
                        {12, 12, 48, 48, 31, 48, 20, 31},
                        {16, 20, 64, 80, 64, 80, 64, 80},
                        {8, 8, 32, 32, 32, 3, 1000, 11},
                        {40, 40, 16, 16, 16, 9, 33, 50},
                        {1, 1, 16, 16, 5, 7, 30, 20},
                        {70, 50, 9, 11, 9, 11, 3, 2},
                        {16, 16, 64, 64, 1, 64, 1, 300}}) {
    const Tensor logits = random_tensor({2, 3, c.low_h, c.low_w}, 13);
    const double threshold = 0.125;
    const std::vector<float> got =
        mask_threshold(logits, {double(c.in_h), double(c.in_w)},
                       {double(c.crop_h), double(c.crop_w)}, {c.out_h, c.out_w}, threshold)
            .run();
    const size_t low = static_cast<size_t>(c.low_h * c.low_w),
                 out = static_cast<size_t>(c.out_h * c.out_w);
    for (size_t mask = 0; mask < 6; ++mask) {
      const std::vector<double> input =
          bilinear(strided(logits.floats(), mask * low, 1, low), c.low_h, c.low_w, c.in_h, c.in_w);
      std::vector<double> crop;
      for (int64_t y = 0; y < c.crop_h; ++y)
        for (int64_t x = 0; x < c.crop_w; ++x)
          crop.push_back(input[static_cast<size_t>(y * c.in_w + x)]);
      const std::vector<double> full = bilinear(crop, c.crop_h, c.crop_w, c.out_h, c.out_w);
      int64_t wrong = 0;
      for (size_t i = 0; i < out; ++i) {
        const float is = got[mask * out + i];
        wrong += is != 0 && is != 1;
        // Within the rounding of f32 either answer is right.
        wrong += std::fabs(full[i] - threshold) > 2e-6 && (full[i] > threshold) != (is == 1);
      }
      CHECK_EQ(wrong, 0);
    }
  }
}

TEST(mask_threshold_is_strict_and_survives_nan) {
  Tensor zeros = tensor<float>({1, 1, 2, 2}, {0, 0, 0, 0});
  for (const float value : mask_threshold(zeros, {8, 8}, {8, 8}, {5, 5}).run()) CHECK_EQ(value, 0);
  for (const float value : mask_threshold(zeros, {8, 8}, {8, 8}, {5, 5}, -1).run())
    CHECK_EQ(value, 1);
  Tensor nans = tensor<float>({1, 1, 2, 2}, {NAN, NAN, NAN, NAN});
  for (const float value : mask_threshold(nans, {8, 8}, {8, 8}, {5, 5}).run()) CHECK_EQ(value, 0);
}

TEST(mask_threshold_rejects_wrong_plans) {
  const Tensor logits = random_tensor({1, 1, 8, 8}, 1);
  CHECK_EQ(mask_threshold(logits, {32, 32}, {33, 32}, {5, 5}).error(), "ERR_SHAPE");
  CHECK_EQ(mask_threshold(logits, {32, 32}, {0, 32}, {5, 5}).error(), "ERR_SHAPE");
  CHECK_EQ(mask_threshold(logits, {32, 32}, {32, 32}, {0, 5}).error(), "ERR_SHAPE");
  CHECK_EQ(mask_threshold(logits, {32}, {32, 32}, {5, 5}).error(), "ERR_ARGUMENT");
}

TEST(mask_summary_of_random_masks) {
  std::mt19937 generator(14);
  for (const auto& [h, w] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 50}, {50, 1}, {3, 64}, {5, 63}, {24, 37}, {65, 129}, {40, 200}})
    for (const uint32_t percent : {0u, 3u, 50u, 97u, 100u}) {
      std::vector<uint8_t> mask(static_cast<size_t>(h * w));
      for (uint8_t& pixel : mask)
        pixel = generator() % 100 < percent ? static_cast<uint8_t>(1 + generator() % 255) : 0;
      const MaskSummary got = summarise_mask(mask.data(), h, w, true);
      CHECK(got.counts == plain_counts(mask, h, w));
      int64_t area = 0, box[4] = {w, h, -1, -1};
      for (int64_t y = 0; y < h; ++y)
        for (int64_t x = 0; x < w; ++x) {
          if (mask[static_cast<size_t>(y * w + x)] == 0) continue;
          ++area;
          box[0] = std::min(box[0], x), box[1] = std::min(box[1], y);
          box[2] = std::max(box[2], x), box[3] = std::max(box[3], y);
        }
      CHECK_EQ(got.area, area);
      for (int i = 0; i < 4; ++i) CHECK_EQ(got.box[i], area == 0 ? 0 : box[i]);
    }
}

TEST(mask_summary_of_nothing) {
  const MaskSummary got = summarise_mask(nullptr, 0, 7, true);
  CHECK_EQ(got.area, 0);
  CHECK(got.counts.empty());
  const uint8_t pixel = 1;
  CHECK(summarise_mask(&pixel, 1, 1, false).counts.empty());
}

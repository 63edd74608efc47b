// A picture to the model's input: its shape, and what each line of Pillow's resize reads.
#pragma once

#include <cmath>

#include "bilinear.h"
#include "expect.h"
#include "integers.h"

namespace HRSAM_OPS {

// Pillow's: 32 bits less 8 for the byte and 2 for the sum.
constexpr int kPrecision = 22;
constexpr int32_t kHalf = 1 << (kPrecision - 1);

// Which source lines each output reads, with which fixed-point coefficients.
class TriangleAxis {
 public:
  TriangleAxis(int64_t in, int64_t out) : out_(out) {
    const double scale = static_cast<double>(in) / static_cast<double>(out);
    const double support = scale < 1 ? 1 : scale;
    stride_ = 2 * static_cast<int64_t>(std::ceil(support)) + 1;
    block_ = Block(sizeof(int32_t) * static_cast<size_t>((stride_ + 2) * out));
    Block exact_block(sizeof(double) * static_cast<size_t>(stride_));
    double* exact = exact_block.as<double>();
    for (int64_t i = 0; i < out; ++i) {
      const double center = (static_cast<double>(i) + 0.5) * scale;
      const int64_t begin = larger(0, static_cast<int64_t>(center - support + 0.5));
      const int64_t end = smaller(in, static_cast<int64_t>(center + support + 0.5));
      double sum = 0;
      for (int64_t j = begin; j < end; ++j) {
        const double distance =
            std::fabs((static_cast<double>(j) - center + 0.5) * (1.0 / support));
        sum += exact[j - begin] = distance < 1 ? 1 - distance : 0;
      }
      bounds()[2 * i] = static_cast<int32_t>(begin);
      bounds()[2 * i + 1] = static_cast<int32_t>(end - begin);
      for (int64_t j = 0; j < end - begin; ++j)
        coefficients()[i * stride_ + j] =
            static_cast<int32_t>(0.5 + exact[j] / sum * (1 << kPrecision));
    }
  }
  int64_t begin(int64_t i) const { return bounds()[2 * i]; }
  int64_t count(int64_t i) const { return bounds()[2 * i + 1]; }
  int64_t end(int64_t i) const { return begin(i) + count(i); }
  const int32_t* coefficient(int64_t i) const { return coefficients() + i * stride_; }
  // [out] pairs of begin and count, then [out][stride] coefficients.
  const Block& block() const { return block_; }
  int64_t stride() const { return stride_; }

 private:
  int32_t* bounds() const { return block_.as<int32_t>(); }
  int32_t* coefficients() const { return bounds() + 2 * out_; }

  Block block_;
  int64_t out_, stride_ = 0;
};

struct PictureShape {
  int64_t height, width, channels;  // the picture
  int64_t size[2], padded[2];
  float mean[3], deviation[3];
  bool swap;
  // The picture's channel for a plane of the result.
  HRSAM_BOTH int64_t channel(int64_t plane) const {
    return channels == 1 ? 0 : swap ? 2 - plane : plane;
  }
  HRSAM_BOTH int64_t colours() const { return channels == 1 ? 1 : 3; }
};

inline PictureShape read_preprocess(const Node& node) {
  const Value &pixels = node.value("pixels"), &result = node.result();
  expect_rank(node, pixels, "pixels", 3);
  PictureShape s{};
  s.height = pixels.dim(0);
  s.width = pixels.dim(1);
  s.channels = pixels.dim(2);
  expect(node, pixels.dtype == DType::u8, "pixels: expected u8");
  expect(node, s.channels == 1 || s.channels == 3 || s.channels == 4,
         "pixels: expected 1, 3 or 4 channels");
  expect(node, s.height > 0 && s.width > 0, "pixels: an empty picture");
  integers(node, "size", 2, s.size);
  integers(node, "padded", 2, s.padded);
  for (int i = 0; i < 2; ++i)
    expect(node, s.size[i] > 0 && s.size[i] <= s.padded[i], "size: expected 1 to the padded size");
  expect(node, result.dtype == DType::f32 && has_shape(result, {1, 3, s.padded[0], s.padded[1]}),
         "the result's shape or type is not (1, 3, height, width) f32 of the padded size");
  int means = 0, deviations = 0;
  const double* mean = node.list("mean", &means);
  const double* deviation = node.list("std", &deviations);
  expect(node, means == 3 && deviations == 3, "mean, std: expected 3 numbers each");
  for (int i = 0; i < 3; ++i) {
    s.mean[i] = static_cast<float>(mean[i]);
    s.deviation[i] = static_cast<float>(deviation[i]);
  }
  s.swap = node.flag("swap");
  return s;
}

}  // namespace HRSAM_OPS

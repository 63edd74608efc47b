// What `everything` asks of a mask's logits before it is made in the picture's size: the areas
// above threshold + offset and above threshold − offset, and the edges of what is above the
// threshold.
#pragma once

#include "expect.h"

namespace HRSAM_OPS {

// Of a result's last axis: inner area, outer area, x0, y0, x1, y1; zeros where a mask is empty. In
// f32, which counts exactly up to 4096².
constexpr int kMaskNumbers = 6;

struct MaskSummaryShape {
  int64_t masks, height, width;
  int64_t rows, columns;  // the first ones, which count
  float threshold, high, low;
};

inline MaskSummaryShape read_mask_summary(const Node& node) {
  const Value &logits = node.value("logits"), &result = node.result();
  expect_rank(node, logits, "logits", 4);
  expect_f32(node, logits, "logits");
  MaskSummaryShape s{};
  s.masks = logits.dim(0) * logits.dim(1);
  s.height = logits.dim(2);
  s.width = logits.dim(3);
  int64_t size[2];
  integers(node, "size", 2, size);
  s.rows = size[0];
  s.columns = size[1];
  expect(node, s.rows >= 0 && s.rows <= s.height && s.columns >= 0 && s.columns <= s.width,
         "size: expected a part of the logits");
  const double threshold = node.number("threshold"), offset = node.number("offset");
  s.threshold = static_cast<float>(threshold);
  s.high = static_cast<float>(threshold + offset);
  s.low = static_cast<float>(threshold - offset);
  expect(
      node,
      result.dtype == DType::f32 && has_shape(result, {logits.dim(0), logits.dim(1), kMaskNumbers}),
      "the result's shape or type is not (B, M, 6) f32");
  return s;
}

}  // namespace HRSAM_OPS

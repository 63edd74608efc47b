// What is reported of a binary mask: area, box and COCO run lengths.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hrsam::image {

struct MaskSummary {
  int64_t area = 0;
  // x0, y0, x1, y1: the smallest and the largest column and row that are set, both inside the mask
  // (SAM's convention: one pixel has x0 = x1). All zero for an empty mask.
  int32_t box[4] = {0, 0, 0, 0};
  // COCO run lengths: column by column, zeros first (0 if the first pixel is set). Their sum is
  // height * width.
  std::vector<uint32_t> counts;
};

// mask: height × width bytes, row-major; a pixel is set when its byte is not 0.
// height * width must be below 2^32. May throw std::bad_alloc.
MaskSummary summarise_mask(const uint8_t* mask, int64_t height, int64_t width, bool with_counts);

// Run lengths from where runs begin (x * height + y, ascending), as a backend reports them.
std::vector<uint32_t> run_lengths(const uint32_t* begins, size_t count, int64_t pixels);

}  // namespace hrsam::image

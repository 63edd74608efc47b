// What boundary IoU counts (Cheng et al., "Boundary IoU", CVPR 2021).
#pragma once

#include <cstdint>

#include "runs.h"

namespace hrsam::image {

struct Overlap {
  int64_t intersection = 0, joined = 0;
};

// Pixels of both masks, and of either, that lie within `radius` (1 or more, by the larger of both
// axes' distances) of something outside their mask; outside the picture counts as outside.
// Both masks must have the same number of pixels. May throw std::bad_alloc.
Overlap boundary_overlap(const Runs& a, const Runs& b, int64_t height, int64_t radius);

}  // namespace hrsam::image

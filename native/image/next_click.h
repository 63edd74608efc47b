// The simulated user of interactive segmentation: where the next click goes.
#pragma once

#include <cstdint>
#include <vector>

#include "runs.h"

namespace hrsam::image {

struct NextClick {
  // Largest distances to the border of their region: of the object's pixels that the prediction
  // lacks, and of the predicted ones that are not the object's.
  float deepest_missing = 0, deepest_extra = 0;
  // 1: on the object, 0: on the background, -1: nothing is wrong, there is no click.
  int32_t label = -1;
  // Pixels that may be clicked, y · width + x, ascending.
  std::vector<uint32_t> candidates;
};

// HRSAM's rule (arXiv 2407.02109, its evaluation code): pixels already clicked are taken off the
// two error regions, the region whose deepest pixel lies deeper is clicked (the background's on
// equal terms), at a pixel deeper than the deepest one's distance / inner_k. Outside the picture
// counts as outside of a region. height · width must be below 2^32; both masks must have that many
// pixels. May throw std::bad_alloc.
NextClick next_click(const Runs& prediction, const Runs& object, int64_t height, int64_t width,
                     const std::vector<uint32_t>& clicked, double inner_k);

}  // namespace hrsam::image

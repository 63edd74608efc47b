// Connected regions of a mask that is given as logits, set where these are above 0.
#pragma once

#include <cstdint>
#include <vector>

namespace hrsam::image {

// A grid of logits, `stride` from a row to the next, and how much of it is picture: the first rows
// and columns.
struct LogitGrid {
  int64_t stride, height, width;
};

struct Cell {
  int64_t x, y;
};

// Takes off the mask what lies apart from its clicks: regions without a click and smaller than
// `share` of the largest region with one; their logits change sign. A mask without a click on it,
// and all that is not picture, stays. By corners cells are connected where the picture's mask is,
// which is interpolated bilinearly. Returns whether anything was taken off. May throw
// std::bad_alloc.
bool drop_regions(float* logits, const LogitGrid& grid, const std::vector<Cell>& clicks,
                  double share);

}  // namespace hrsam::image

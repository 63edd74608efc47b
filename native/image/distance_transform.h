// Exact squared Euclidean distances inside the regions of a label map, in linear time.
#pragma once

#include <cstdint>
#include <vector>

namespace hrsam::image {

// labels: rows × columns bytes, row-major. For each pixel whose label is not 0: the squared
// distance to the nearest pixel of another label; outside the map counts as another label. 0
// elsewhere. Sides up to 32767. May throw std::bad_alloc.
std::vector<int32_t> squared_distances(const uint8_t* labels, int64_t rows, int64_t columns);

}  // namespace hrsam::image

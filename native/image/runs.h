// Masks as COCO run lengths, taken apart: what comparing masks needs. Positions go down the
// columns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hrsam::image {

using Runs = std::vector<uint32_t>;  // lengths, zeros first, as in MaskSummary::counts

inline bool fills(const Runs& runs, int64_t pixels) {
  int64_t sum = 0;
  for (const uint32_t run : runs) sum += run;
  return sum == pixels;
}

// visit(begin, end, in_a, in_b) for stretches that are the same throughout in both masks; both have
// the same number of pixels.
template <class Visit>
void each_stretch(const Runs& a, const Runs& b, Visit&& visit) {
  size_t i = 0, j = 0;
  int64_t at = 0, a_end = a.empty() ? 0 : a[0], b_end = b.empty() ? 0 : b[0];
  while (i < a.size() && j < b.size()) {
    const int64_t end = std::min(a_end, b_end);
    if (end > at) visit(at, end, (i & 1) != 0, (j & 1) != 0);
    at = end;
    while (i < a.size() && a_end == at)
      if (++i < a.size()) a_end += a[i];
    while (j < b.size() && b_end == at)
      if (++j < b.size()) b_end += b[j];
  }
}

// Columns and rows, the last ones excluded.
struct Window {
  int64_t x0 = INT64_MAX, x1 = 0, y0 = INT64_MAX, y1 = 0;
  bool empty() const { return x1 <= x0; }
  int64_t columns() const { return x1 - x0; }
  int64_t rows() const { return y1 - y0; }

  // Takes in a stretch of positions of a picture of this height.
  void include(int64_t begin, int64_t end, int64_t height) {
    const int64_t first = begin / height, last = (end - 1) / height;
    x0 = std::min(x0, first);
    x1 = std::max(x1, last + 1);
    y0 = std::min(y0, first == last ? begin % height : 0);
    y1 = std::max(y1, first == last ? (end - 1) % height + 1 : height);
  }
};

// Writes `value` over a stretch of positions into a map of the window, column after column.
inline void fill_stretch(uint8_t* map, const Window& window, int64_t height, int64_t begin,
                         int64_t end, uint8_t value) {
  while (begin < end) {
    const int64_t x = begin / height, y = begin % height;
    const int64_t stop = std::min(end, (x + 1) * height);
    uint8_t* column = map + (x - window.x0) * window.rows() - window.y0;
    std::fill(column + y, column + y + (stop - begin), value);
    begin = stop;
  }
}

}  // namespace hrsam::image

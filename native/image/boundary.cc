#include "boundary.h"

#include <algorithm>
#include <vector>

namespace hrsam::image {

namespace {

// Leaves of a map (columns × rows, a column after the other) what an erosion with a square of side
// 2 · radius + 1 takes away. A pixel survives when the square's rows are set in its column, and the
// same holds for the square's columns: both are lengths of runs, counted while going along.
void keep_boundary(std::vector<uint8_t>& map, int64_t columns, int64_t rows, int64_t radius) {
  if (radius > (std::min(columns, rows) - 1) / 2) return;
  const int64_t side = 2 * radius + 1;
  std::vector<uint8_t> inner(static_cast<size_t>(rows));
  std::vector<int32_t> run(static_cast<size_t>(rows), 0);
  for (int64_t x = 0; x < columns; ++x) {
    const uint8_t* column = map.data() + x * rows;
    std::fill(inner.begin(), inner.end(), 0);
    int64_t length = 0;
    for (int64_t y = 0; y < rows; ++y) {
      length = column[y] ? length + 1 : 0;
      if (length >= side) inner[static_cast<size_t>(y - radius)] = 1;
    }
    uint8_t* middle = x >= 2 * radius ? map.data() + (x - radius) * rows : nullptr;
    for (int64_t y = 0; y < rows; ++y) {
      int32_t& count = run[static_cast<size_t>(y)];
      count = inner[static_cast<size_t>(y)] ? count + 1 : 0;
      if (middle && count >= side) middle[y] = 0;
    }
  }
}

}  // namespace

Overlap boundary_overlap(const Runs& a, const Runs& b, int64_t height, int64_t radius) {
  Window window;
  each_stretch(a, b, [&](int64_t begin, int64_t end, bool in_a, bool in_b) {
    if (in_a || in_b) window.include(begin, end, height);
  });
  Overlap overlap;
  if (window.empty()) return overlap;
  std::vector<uint8_t> first(static_cast<size_t>(window.columns() * window.rows()), 0);
  std::vector<uint8_t> second(first.size(), 0);
  each_stretch(a, b, [&](int64_t begin, int64_t end, bool in_a, bool in_b) {
    if (in_a) fill_stretch(first.data(), window, height, begin, end, 1);
    if (in_b) fill_stretch(second.data(), window, height, begin, end, 1);
  });
  keep_boundary(first, window.columns(), window.rows(), radius);
  keep_boundary(second, window.columns(), window.rows(), radius);
  for (size_t i = 0; i < first.size(); ++i) {
    overlap.intersection += first[i] & second[i];
    overlap.joined += first[i] | second[i];
  }
  return overlap;
}

}  // namespace hrsam::image

// A mask lies in rows, its COCO runs go down the columns. Runs begin where a pixel differs from the
// one above it (the first of a column: from the last of the column before), and that is found by
// comparing whole rows, 64 bytes at a time. One pass counts the beginnings of each column, a second
// one writes their rows in order: a counting sort, without a transposed copy.
#include "mask_encode.h"

#include <algorithm>
#include <cstddef>

namespace hrsam::image {

namespace {

constexpr int64_t kBlock = 64;

bool differs(uint8_t a, uint8_t b) { return (a != 0) != (b != 0); }

bool any_differs(const uint8_t* a, const uint8_t* b) {
  uint8_t any = 0;
  for (int64_t i = 0; i < kBlock; ++i) any |= static_cast<uint8_t>((a[i] != 0) ^ (b[i] != 0));
  return any != 0;
}

// visit(x, y) wherever a column's run begins at row y > 0, row by row.
template <class Visit>
void each_change(const uint8_t* mask, int64_t height, int64_t width, Visit&& visit) {
  for (int64_t y = 1; y < height; ++y) {
    const uint8_t* row = mask + y * width;
    const uint8_t* above = row - width;
    int64_t x = 0;
    for (; x + kBlock <= width; x += kBlock) {
      if (!any_differs(row + x, above + x)) continue;
      for (int64_t i = x; i < x + kBlock; ++i)
        if (differs(row[i], above[i])) visit(i, y);
    }
    for (; x < width; ++x)
      if (differs(row[x], above[x])) visit(x, y);
  }
}

std::vector<uint32_t> run_lengths(const uint8_t* mask, int64_t height, int64_t width) {
  // After the second pass ends[x] is the end of column x in `rows`, and the beginning of x + 1.
  std::vector<uint32_t> ends(static_cast<size_t>(width), 0);
  each_change(mask, height, width, [&](int64_t x, int64_t) { ++ends[static_cast<size_t>(x)]; });
  uint32_t total = 0;
  for (uint32_t& end : ends) {
    const uint32_t count = end;
    end = total;
    total += count;
  }
  std::vector<uint32_t> rows(total);
  each_change(mask, height, width, [&](int64_t x, int64_t y) {
    rows[ends[static_cast<size_t>(x)]++] = static_cast<uint32_t>(y);
  });

  std::vector<uint32_t> counts;
  counts.reserve(static_cast<size_t>(total) + static_cast<size_t>(width) + 1);
  int64_t begin = 0;
  uint8_t last = 0;  // zeros come first, even if there are none
  uint32_t i = 0;
  for (int64_t x = 0; x < width; ++x) {
    const int64_t column = x * height;
    if (differs(mask[x], last)) {
      counts.push_back(static_cast<uint32_t>(column - begin));
      begin = column;
    }
    for (; i < ends[static_cast<size_t>(x)]; ++i) {
      counts.push_back(static_cast<uint32_t>(column + rows[i] - begin));
      begin = column + rows[i];
    }
    last = mask[(height - 1) * width + x];
  }
  counts.push_back(static_cast<uint32_t>(height * width - begin));
  return counts;
}

}  // namespace

std::vector<uint32_t> run_lengths(const uint32_t* begins, size_t count, int64_t pixels) {
  std::vector<uint32_t> lengths;
  lengths.reserve(count + 1);
  uint32_t last = 0;
  for (size_t i = 0; i < count; ++i) {
    lengths.push_back(begins[i] - last);
    last = begins[i];
  }
  lengths.push_back(static_cast<uint32_t>(pixels - last));
  return lengths;
}

MaskSummary summarise_mask(const uint8_t* mask, int64_t height, int64_t width, bool with_counts) {
  MaskSummary summary;
  if (height <= 0 || width <= 0) return summary;
  std::vector<uint8_t> columns(static_cast<size_t>(width), 0);
  int64_t top = -1, bottom = -1;
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* row = mask + y * width;
    uint32_t set = 0;
    for (int64_t x = 0; x < width; ++x) {
      const uint8_t inside = row[x] != 0;
      set += inside;
      columns[static_cast<size_t>(x)] |= inside;
    }
    if (set == 0) continue;
    summary.area += set;
    if (top < 0) top = y;
    bottom = y;
  }
  if (summary.area > 0) {
    const auto first = std::find(columns.begin(), columns.end(), 1);
    const auto last = std::find(columns.rbegin(), columns.rend(), 1);
    summary.box[0] = static_cast<int32_t>(first - columns.begin());
    summary.box[1] = static_cast<int32_t>(top);
    summary.box[2] = static_cast<int32_t>(columns.rend() - last - 1);
    summary.box[3] = static_cast<int32_t>(bottom);
  }
  if (with_counts) summary.counts = run_lengths(mask, height, width);
  return summary;
}

}  // namespace hrsam::image

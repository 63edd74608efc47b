// Meijster, Roerdink and Hesselink, "A general algorithm for computing distance transforms in
// linear time" (2000): distances along columns first, then along each row the lower envelope of the
// parabolas that they make. A row is cut into runs of one label: the pixels at both ends of a run
// have another label and distance 0, so nothing beyond them can be nearer.
#include "distance_transform.h"

#include <algorithm>
#include <cstddef>

namespace hrsam::image {

namespace {

// Distance to the nearest pixel of another label in the same column, row by row.
void measure_columns(const uint8_t* labels, int64_t rows, int64_t columns, int32_t* distance) {
  for (int64_t y = 0; y < rows; ++y) {
    const uint8_t* label = labels + y * columns;
    const uint8_t* above = label - columns;
    int32_t* row = distance + y * columns;
    if (y == 0) {
      for (int64_t x = 0; x < columns; ++x) row[x] = label[x] != 0;
    } else {
      for (int64_t x = 0; x < columns; ++x) {
        const int32_t longer = label[x] == above[x] ? row[x - columns] + 1 : 1;
        row[x] = label[x] == 0 ? 0 : longer;
      }
    }
  }
  int32_t* last = distance + (rows - 1) * columns;
  for (int64_t x = 0; x < columns; ++x) last[x] = std::min(last[x], 1);
  for (int64_t y = rows - 2; y >= 0; --y) {
    const uint8_t* label = labels + y * columns;
    const uint8_t* below = label + columns;
    int32_t* row = distance + y * columns;
    for (int64_t x = 0; x < columns; ++x) {
      const int32_t other = label[x] == below[x] ? row[x + columns] + 1 : 1;
      row[x] = std::min(row[x], other);
    }
  }
}

// A parabola of the lower envelope: its place, its height there, and where it begins to be lowest.
struct Parabola {
  int32_t at, height, from;
};

// One run of a row, `length` column distances in place of which squared distances are written.
// `envelope` has room for length + 2.
void measure_run(int32_t* run, int32_t length, Parabola* envelope) {
  Parabola* top = envelope;
  *top = {-1, 0, 0};
  const auto value = [](const Parabola& p, int32_t x) {
    return (x - p.at) * (x - p.at) + p.height;
  };
  for (int32_t x = 0; x <= length; ++x) {
    const int32_t height = x == length ? 0 : run[x] * run[x];
    const Parabola next{x, height, 0};
    while (top >= envelope && value(*top, top->from) > value(next, top->from)) --top;
    if (top < envelope) {
      *++top = next;
      continue;
    }
    // Both are whole numbers below 2^33: the quotient of doubles is cut to the right one.
    const double numerator =
        static_cast<double>(x) * x - static_cast<double>(top->at) * top->at + height - top->height;
    const auto from = static_cast<int32_t>(numerator / (2 * (x - top->at))) + 1;
    if (from < length) *++top = {x, height, from};
  }
  for (int32_t x = length - 1; x >= 0; --x) {
    run[x] = value(*top, x);
    if (x == top->from) --top;
  }
}

}  // namespace

std::vector<int32_t> squared_distances(const uint8_t* labels, int64_t rows, int64_t columns) {
  std::vector<int32_t> distances(static_cast<size_t>(rows * columns));
  if (distances.empty()) return distances;
  measure_columns(labels, rows, columns, distances.data());
  std::vector<Parabola> envelope(static_cast<size_t>(columns) + 2);
  for (int64_t y = 0; y < rows; ++y) {
    const uint8_t* label = labels + y * columns;
    int32_t* row = distances.data() + y * columns;
    for (int64_t begin = 0, end; begin < columns; begin = end) {
      end = begin + 1;
      while (end < columns && label[end] == label[begin]) ++end;
      if (label[begin] != 0)
        measure_run(row + begin, static_cast<int32_t>(end - begin), envelope.data());
    }
  }
  return distances;
}

}  // namespace hrsam::image

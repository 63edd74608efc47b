// Outlines to coverage, and soft copies of coverage.
#pragma once

#include <cstdint>
#include <vector>

namespace hrsam::image::scene {

struct Point {
  double x, y;
};
// A closed line. Clockwise as seen (y points down) it adds, the other way it takes off.
using Contour = std::vector<Point>;
using Contours = std::vector<Contour>;

// Columns x0 … x1 - 1, rows y0 … y1 - 1.
struct Rect {
  int x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  int width() const { return x1 - x0; }
  int height() const { return y1 - y0; }
  bool empty() const { return x1 <= x0 || y1 <= y0; }
  Rect grown(int margin) const { return {x0 - margin, y0 - margin, x1 + margin, y1 + margin}; }
  Rect within(const Rect& other) const;
  Rect joined(const Rect& other) const;
};

Rect bounds(const Contours& contours);

// The share of each pixel that the contours cover, 0 … 255, over `rect`: the exact area of what
// lies inside more adding than subtracting contours.
std::vector<uint8_t> coverage(const Contours& contours, const Rect& rect);

// Averages over (2 · radius + 1)² pixels, twice, with the edge's value beyond the edge; `channels`
// are interleaved.
void box_blur(uint8_t* data, int width, int height, int channels, int radius);

// A blurred map at reduced size: shadows and rounded surfaces are smooth, so a coarse grid does.
class SoftMap {
 public:
  // map: of `rect`; outside of it everything is 0. The blur reaches about 2 · radius pixels.
  SoftMap(const std::vector<uint8_t>& map, const Rect& rect, double radius);
  // Values at columns x0 … x0 + count - 1 of row y, 0 … 255.
  void row(int y, int x0, int count, uint8_t* out) const;
  // Where it can differ from 0.
  Rect rect() const;

 private:
  int step_, columns_, rows_;
  Rect rect_;
  std::vector<uint8_t> cells_;
};

}  // namespace hrsam::image::scene

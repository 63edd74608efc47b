#include "scene_raster.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace hrsam::image::scene {

Rect Rect::within(const Rect& other) const {
  return {std::max(x0, other.x0), std::max(y0, other.y0), std::min(x1, other.x1),
          std::min(y1, other.y1)};
}

Rect Rect::joined(const Rect& other) const {
  if (empty()) return other;
  if (other.empty()) return *this;
  return {std::min(x0, other.x0), std::min(y0, other.y0), std::max(x1, other.x1),
          std::max(y1, other.y1)};
}

Rect bounds(const Contours& contours) {
  double x0 = 1e9, y0 = 1e9, x1 = -1e9, y1 = -1e9;
  for (const Contour& contour : contours)
    for (const Point& p : contour) {
      x0 = std::min(x0, p.x);
      y0 = std::min(y0, p.y);
      x1 = std::max(x1, p.x);
      y1 = std::max(y1, p.y);
    }
  if (x1 < x0) return {};
  return {static_cast<int>(std::floor(x0)), static_cast<int>(std::floor(y0)),
          static_cast<int>(std::floor(x1)) + 1, static_cast<int>(std::floor(y1)) + 1};
}

namespace {

// Cell i holds by how much the covered share grows from pixel i - 1 to pixel i, so that sums along
// the row give the share.
void add_piece(float* row, float from, float to, float height) {
  const float left = std::min(from, to), right = std::max(from, to);
  const int first = static_cast<int>(left), last = static_cast<int>(right);
  if (first == last) {
    const float middle = 0.5f * (left + right) - static_cast<float>(first);
    row[first] += height * (1 - middle);
    row[first + 1] += height * middle;
    return;
  }
  const float per_pixel = height / (right - left);
  for (int i = first; i <= last; ++i) {
    const float a = std::max(left - static_cast<float>(i), 0.0f);
    const float b = std::min(right - static_cast<float>(i), 1.0f);
    const float part = (b - a) * per_pixel, middle = 0.5f * (a + b);
    row[i] += part * (1 - middle);
    row[i + 1] += part * middle;
  }
}

void add_edge(float* cells, int width, int height, Point a, Point b) {
  if (a.y == b.y) return;
  const float sign = a.y < b.y ? -1.0f : 1.0f;
  if (a.y > b.y) std::swap(a, b);
  if (b.y <= 0 || a.y >= height) return;
  const double slope = (b.x - a.x) / (b.y - a.y);
  const int first = std::max(0, static_cast<int>(std::floor(a.y)));
  const int last = std::min(height - 1, static_cast<int>(std::floor(b.y)));
  const auto clamped = [&](double x) {
    return static_cast<float>(std::min(std::max(x, 0.0), static_cast<double>(width)));
  };
  for (int y = first; y <= last; ++y) {
    const double top = std::max(a.y, static_cast<double>(y));
    const double bottom = std::min(b.y, y + 1.0);
    if (bottom <= top) continue;
    add_piece(cells + static_cast<size_t>(y) * (width + 2), clamped(a.x + slope * (top - a.y)),
              clamped(a.x + slope * (bottom - a.y)), sign * static_cast<float>(bottom - top));
  }
}

}  // namespace

std::vector<uint8_t> coverage(const Contours& contours, const Rect& rect) {
  const int width = rect.width(), height = rect.height();
  std::vector<float> cells(static_cast<size_t>(width + 2) * height);
  for (const Contour& contour : contours)
    for (size_t i = 0; i < contour.size(); ++i) {
      const Point &a = contour[i], &b = contour[i + 1 == contour.size() ? 0 : i + 1];
      add_edge(cells.data(), width, height, {a.x - rect.x0, a.y - rect.y0},
               {b.x - rect.x0, b.y - rect.y0});
    }
  std::vector<uint8_t> alpha(static_cast<size_t>(width) * height);
  for (int y = 0; y < height; ++y) {
    const float* row = cells.data() + static_cast<size_t>(y) * (width + 2);
    uint8_t* out = alpha.data() + static_cast<size_t>(y) * width;
    float sum = 0;
    for (int x = 0; x < width; ++x) {
      sum += row[x];
      out[x] = static_cast<uint8_t>(std::min(std::max(sum, 0.0f), 1.0f) * 255 + 0.5f);
    }
  }
  return alpha;
}

namespace {

// One pass along a line of `count` values `stride` apart.
void blur_line(uint8_t* line, int count, int stride, int radius, uint32_t scale, uint8_t* copy) {
  for (int i = 0; i < count; ++i) copy[i] = line[static_cast<ptrdiff_t>(i) * stride];
  uint32_t sum = copy[0] * static_cast<uint32_t>(radius + 1);
  for (int i = 1; i <= radius; ++i) sum += copy[std::min(i, count - 1)];
  for (int i = 0; i < count; ++i) {
    line[static_cast<ptrdiff_t>(i) * stride] = static_cast<uint8_t>((sum * scale + 0x8000) >> 16);
    sum += copy[std::min(i + radius + 1, count - 1)];
    sum -= copy[std::max(i - radius, 0)];
  }
}

// The same down all columns at once: neighbouring bytes of a row are added together.
void blur_columns(uint8_t* data, int rows, int bytes, int radius, uint32_t scale) {
  const std::vector<uint8_t> copy(data, data + static_cast<size_t>(rows) * bytes);
  std::vector<uint32_t> sums(static_cast<size_t>(bytes));
  const auto source = [&](int y) {
    return copy.data() + static_cast<size_t>(std::min(std::max(y, 0), rows - 1)) * bytes;
  };
  for (int y = -radius; y <= radius; ++y)
    for (int i = 0; i < bytes; ++i) sums[i] += source(y)[i];
  for (int y = 0; y < rows; ++y) {
    uint8_t* out = data + static_cast<size_t>(y) * bytes;
    const uint8_t *in = source(y + radius + 1), *gone = source(y - radius);
    for (int i = 0; i < bytes; ++i) {
      out[i] = static_cast<uint8_t>((sums[i] * scale + 0x8000) >> 16);
      sums[i] += static_cast<uint32_t>(in[i]) - gone[i];
    }
  }
}

}  // namespace

void box_blur(uint8_t* data, int width, int height, int channels, int radius) {
  if (radius < 1) return;
  radius = std::min(radius, 100);
  // Rounded down, so that full stays within a byte.
  const uint32_t scale = 65536u / static_cast<uint32_t>(2 * radius + 1);
  std::vector<uint8_t> copy(static_cast<size_t>(width));
  for (int pass = 0; pass < 2; ++pass) {
    for (int y = 0; y < height; ++y)
      for (int c = 0; c < channels; ++c)
        blur_line(data + static_cast<size_t>(y) * width * channels + c, width, channels, radius,
                  scale, copy.data());
    blur_columns(data, height, width * channels, radius, scale);
  }
}

SoftMap::SoftMap(const std::vector<uint8_t>& map, const Rect& rect, double radius) {
  // Four cells per radius are enough to interpolate between.
  step_ = std::max(1, static_cast<int>(radius / 4));
  const int cell_radius = std::max(1, static_cast<int>(radius / step_ + 0.5));
  const int margin = (2 * cell_radius + 2) * step_;
  rect_ = rect.grown(margin);
  columns_ = (rect_.width() + step_ - 1) / step_ + 1;
  rows_ = (rect_.height() + step_ - 1) / step_ + 1;
  std::vector<uint32_t> sums(static_cast<size_t>(columns_) * rows_);
  for (int y = 0; y < rect.height(); ++y) {
    const uint8_t* in = map.data() + static_cast<size_t>(y) * rect.width();
    uint32_t* out = sums.data() + static_cast<size_t>((y + margin) / step_) * columns_;
    for (int x = 0, column = margin / step_, left = step_; x < rect.width(); ++x) {
      out[column] += in[x];
      if (--left == 0) {
        left = step_;
        ++column;
      }
    }
  }
  cells_.resize(sums.size());
  const uint32_t area = static_cast<uint32_t>(step_) * step_;
  for (size_t i = 0; i < sums.size(); ++i) cells_[i] = static_cast<uint8_t>(sums[i] / area);
  box_blur(cells_.data(), columns_, rows_, 1, cell_radius);
}

Rect SoftMap::rect() const { return rect_; }

void SoftMap::row(int y, int x0, int count, uint8_t* out) const {
  // Cell centres lie in the middle of their pixels. Positions in 1/256 of a cell.
  const auto position = [&](int pixel) { return ((2 * pixel + 1) * 128 / step_) - 128; };
  const int py = std::min(std::max(position(y - rect_.y0), 0), (rows_ - 1) * 256 - 1);
  const uint8_t* above = cells_.data() + static_cast<size_t>(py >> 8) * columns_;
  const uint8_t* below = above + columns_;
  const int fy = py & 255, limit = (columns_ - 1) * 256 - 1;
  for (int i = 0; i < count; ++i) {
    const int px = std::min(std::max(position(x0 + i - rect_.x0), 0), limit);
    const int column = px >> 8, fx = px & 255;
    const int upper = above[column] * (256 - fx) + above[column + 1] * fx;
    const int lower = below[column] * (256 - fx) + below[column + 1] * fx;
    out[i] = static_cast<uint8_t>((upper * (256 - fy) + lower * fy) >> 16);
  }
}

}  // namespace hrsam::image::scene

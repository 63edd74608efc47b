#include "sample.h"

#include <algorithm>
#include <cmath>

#include "scene_layer.h"

namespace hrsam::image {

namespace {

using scene::Canvas;
using scene::Layer;

// Two neighbours and the weight of the second, in 1/256.
struct Tap {
  int first, second, weight;
};

Tap tap(double at, int limit) {
  const double bounded = std::clamp(at - 0.5, 0.0, static_cast<double>(limit - 1));
  const int first = static_cast<int>(bounded);
  return {first, std::min(first + 1, limit - 1), static_cast<int>((bounded - first) * 256 + 0.5)};
}

struct Point {
  double x, y;
};

// Where the middle of output pixel (i, j) lies in the source.
Point seen_at(const SampleLayer& source, int i, int j) {
  const double u = i + 0.5, v = j + 0.5;
  return {source.x + u * source.step_x + v * source.turn_x,
          source.y + u * source.turn_y + v * source.step_y};
}

bool inside(const SampleLayer& source, const Point& at) {
  return at.x >= 0 && at.x <= source.width && at.y >= 0 && at.y <= source.height;
}

// The part of the output within which the whole source lies.
scene::Rect shown(const SampleLayer& source, int width, int height) {
  const double det = source.step_x * source.step_y - source.turn_x * source.turn_y;
  double low[2] = {static_cast<double>(width), static_cast<double>(height)}, high[2] = {0, 0};
  for (int corner = 0; corner < 4; ++corner) {
    const double dx = (corner % 2) * source.width - source.x;
    const double dy = (corner / 2) * source.height - source.y;
    const double at[2] = {(dx * source.step_y - dy * source.turn_x) / det,
                          (dy * source.step_x - dx * source.turn_y) / det};
    for (int k = 0; k < 2; ++k) {
      const double limit = k == 0 ? width : height;
      low[k] = std::min(low[k], std::clamp(at[k], 0.0, limit));
      high[k] = std::max(high[k], std::clamp(at[k], 0.0, limit));
    }
  }
  return {static_cast<int>(low[0]), static_cast<int>(low[1]), static_cast<int>(std::ceil(high[0])),
          static_cast<int>(std::ceil(high[1]))};
}

int blend(int a, int b, int c, int d, const Tap& x, const Tap& y) {
  const int upper = a * (256 - x.weight) + b * x.weight;
  const int lower = c * (256 - x.weight) + d * x.weight;
  return (upper * (256 - y.weight) + lower * y.weight + 32768) >> 16;
}

// Calls set(x, y) where at least half of an output pixel is what the mask marks.
template <class Set>
void each_masked(const SampleLayer& source, const uint8_t* mask, int width, int height, Set&& set) {
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      const Point at = seen_at(source, x, y);
      const Tap column = tap(at.x, source.width), row = tap(at.y, source.height);
      const uint8_t* above = mask + static_cast<size_t>(row.first) * source.width;
      const uint8_t* below = mask + static_cast<size_t>(row.second) * source.width;
      const auto value = [](uint8_t marked) { return marked != 0 ? 255 : 0; };
      if (blend(value(above[column.first]), value(above[column.second]), value(below[column.first]),
                value(below[column.second]), column, row) >= 128)
        set(x, y);
    }
}

// whole: it fills the output; else it ends where its source does.
Layer resampled(const SampleLayer& source, int width, int height, bool whole) {
  Layer layer;
  layer.rect = whole ? scene::Rect{0, 0, width, height} : shown(source, width, height);
  if (layer.rect.empty()) return {};
  const size_t pixels = static_cast<size_t>(layer.rect.width()) * layer.rect.height();
  layer.rgb.resize(3 * pixels);
  layer.alpha.resize(pixels);
  size_t at = 0;
  for (int j = layer.rect.y0; j < layer.rect.y1; ++j)
    for (int i = layer.rect.x0; i < layer.rect.x1; ++i, ++at) {
      const Point point = seen_at(source, i, j);
      const Tap x = tap(point.x, source.width), y = tap(point.y, source.height);
      const size_t above = static_cast<size_t>(y.first) * source.width;
      const size_t below = static_cast<size_t>(y.second) * source.width;
      const size_t corners[4] = {above + x.first, above + x.second, below + x.first,
                                 below + x.second};
      const auto value = [&](const uint8_t* from, int stride, int k) {
        return blend(from[stride * corners[0] + k], from[stride * corners[1] + k],
                     from[stride * corners[2] + k], from[stride * corners[3] + k], x, y);
      };
      const auto set = [&](int k) { return source.mask[corners[k]] != 0 ? 255 : 0; };
      const int rgb[3] = {value(source.rgb, 3, 0), value(source.rgb, 3, 1),
                          value(source.rgb, 3, 2)};
      for (int k = 0; k < 3; ++k) {
        const int32_t* row = source.colour.data() + 4 * k;
        const int mixed = row[0] * rgb[0] + row[1] * rgb[1] + row[2] * rgb[2] + row[3];
        layer.rgb[3 * at + k] = scene::byte((mixed + 512) >> 10);
      }
      if (whole || inside(source, point))
        layer.alpha[at] = static_cast<uint8_t>(blend(set(0), set(1), set(2), set(3), x, y));
    }
  return layer;
}

void add_grain(Canvas& canvas, int strength, uint64_t seed) {
  const uint8_t* grain = scene::grain_tile();
  scene::Random random(seed);
  const int bytes = canvas.width * 3;
  for (int y = 0; y < canvas.height; ++y) {
    const uint32_t start = static_cast<uint32_t>(random.bits());
    uint8_t* row = canvas.row(y);
    for (int i = 0; i < bytes; ++i) {
      const int change =
          ((grain[(start + static_cast<uint32_t>(i)) & 0xffff] - 128) * strength) >> 7;
      row[i] = scene::byte(row[i] + change);
    }
  }
}

// Everything but the padding.
Canvas picture(const SampleSpec& spec) {
  Canvas canvas(spec.width, spec.height);
  Layer base = resampled(spec.layers[0], spec.width, spec.height, true);
  canvas.rgb = std::move(base.rgb);
  for (size_t i = 0; i < base.alpha.size(); ++i) {
    if (base.alpha[i] < 128) continue;
    canvas.owner[i] = 1;
    canvas.seen[i] = base.alpha[i];
  }
  scene::Light light;
  light.towards = {-0.6, -0.8};
  light.shadow = spec.shadow / 256.0;
  for (size_t i = 1; i < spec.layers.size(); ++i) {
    Layer layer = resampled(spec.layers[i], spec.width, spec.height, false);
    scene::defocus(layer, canvas.rect(), spec.feather);
    scene::cast_shadow(canvas, layer, light, spec.size * 0.02, spec.size * 0.015);
    scene::compose(canvas, layer, static_cast<uint8_t>(i + 1));
  }
  scene::box_blur(canvas.rgb.data(), canvas.width, canvas.height, 3, spec.blur);
  if (spec.noise > 0) add_grain(canvas, spec.noise, spec.seed);
  return canvas;
}

}  // namespace

Sample make_sample(const SampleSpec& spec) {
  const Canvas canvas = picture(spec);
  const size_t side = static_cast<size_t>(spec.size);
  Sample sample{std::vector<uint8_t>(side * side * 3), std::vector<uint8_t>(side * side, 255), {}};
  for (int y = 0; y < spec.height; ++y) {
    const size_t row = static_cast<size_t>(y) * canvas.width;
    std::copy_n(canvas.rgb.data() + 3 * row, 3 * canvas.width, sample.rgb.data() + 3 * side * y);
    for (int x = 0; x < spec.width; ++x)
      sample.mask[side * y + x] = canvas.owner[row + x] == spec.target + 1;
  }
  for (const uint8_t* mask : spec.others) {
    std::vector<uint8_t>& other = sample.others.emplace_back(side * side, 255);
    for (int y = 0; y < spec.height; ++y)
      std::fill_n(other.begin() + static_cast<std::ptrdiff_t>(side * y), spec.width, 0);
    // What is pasted hides it.
    each_masked(spec.layers[0], mask, spec.width, spec.height, [&](int x, int y) {
      other[side * y + x] = canvas.owner[static_cast<size_t>(y) * canvas.width + x] <= 1;
    });
  }
  return sample;
}

}  // namespace hrsam::image

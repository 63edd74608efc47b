#include "scene_layer.h"

#include <algorithm>

namespace hrsam::image::scene {

namespace {

uint8_t divided(int v) { return static_cast<uint8_t>((v + 1 + (v >> 8)) >> 8); }  // v / 255

uint8_t lit(int value, int light) {
  return static_cast<uint8_t>(std::min(255, (value * light) >> 8));
}

Contours placed(const Contours& contours, const Placement& p) {
  const double c = cosine(p.turn) * p.radius, s = sine(p.turn) * p.radius;
  Contours result = contours;
  for (Contour& contour : result) {
    for (Point& point : contour) {
      double x = point.x + p.bend * sine(point.y * 0.35 + p.bend_phase);
      const double y = (point.y + p.bend * sine(point.x * 0.3 + p.bend_phase)) * p.stretch;
      x += p.lean * y;
      if (p.mirrored) x = -x;
      point = {p.centre.x + x * c - y * s, p.centre.y + x * s + y * c};
    }
    if (p.mirrored) contour = reversed(std::move(contour));
  }
  return result;
}

// Paints `alpha` of the part over what the layer has.
void paint_part(Layer& layer, const Material& material, const Rect& rect,
                std::vector<uint8_t>& alpha, bool inside) {
  std::vector<uint8_t> colours(static_cast<size_t>(rect.width()) * 3);
  for (int y = rect.y0; y < rect.y1; ++y) {
    uint8_t* a = alpha.data() + static_cast<size_t>(y - rect.y0) * rect.width();
    const size_t at =
        static_cast<size_t>(y - layer.rect.y0) * layer.rect.width() + (rect.x0 - layer.rect.x0);
    uint8_t* under = layer.alpha.data() + at;
    uint8_t* rgb = layer.rgb.data() + 3 * at;
    int first = 0, last = rect.width();
    while (first < last && a[first] == 0) ++first;
    while (last > first && a[last - 1] == 0) --last;
    if (first == last) continue;
    material.row(rect.x0 + first, y, last - first, colours.data());
    for (int x = first; x < last; ++x) {
      const uint8_t* colour = colours.data() + 3 * (x - first);
      if (inside) a[x] = std::min(a[x], under[x]);
      if (a[x] == 0) continue;
      if (a[x] == 255 || under[x] == 0) {
        std::copy_n(colour, 3, rgb + 3 * x);
        under[x] = std::max(under[x], a[x]);
        continue;
      }
      // The union's coverage; the share of the colour beneath is what the part leaves of it.
      const int beneath = divided(under[x] * (255 - a[x]));
      const int all = inside ? under[x] : a[x] + beneath;
      const int share = inside ? a[x] * 255 / under[x] : a[x] * 255 / all;
      for (int k = 0; k < 3; ++k)
        rgb[3 * x + k] = divided(colour[k] * share + rgb[3 * x + k] * (255 - share));
      under[x] = static_cast<uint8_t>(all);
    }
  }
}

}  // namespace

Canvas::Canvas(int w, int h)
    : width(w),
      height(h),
      rgb(static_cast<size_t>(w) * h * 3),
      owner(static_cast<size_t>(w) * h),
      seen(static_cast<size_t>(w) * h) {}

Layer paint(const Figure& figure, const Placement& placement,
            const std::vector<Material>& materials, const Rect& picture) {
  std::vector<Contours> parts;
  Layer layer;
  for (const Part& part : figure.parts) {
    parts.push_back(placed(part.contours, placement));
    if (!part.inside) layer.rect = layer.rect.joined(bounds(parts.back()));
  }
  layer.rect = layer.rect.within(picture);
  if (layer.rect.empty()) return {};
  const size_t pixels = static_cast<size_t>(layer.rect.width()) * layer.rect.height();
  layer.rgb.resize(3 * pixels);
  layer.alpha.resize(pixels);
  for (size_t i = 0; i < parts.size(); ++i) {
    const Rect rect = bounds(parts[i]).within(layer.rect);
    if (rect.empty()) continue;
    std::vector<uint8_t> alpha = coverage(parts[i], rect);
    const Part& part = figure.parts[i];
    paint_part(layer, materials[static_cast<size_t>(part.material)], rect, alpha, part.inside);
  }
  return layer;
}

void shade(Layer& layer, const Light& light, double radius) {
  if (layer.rect.empty()) return;
  const int width = layer.rect.width(), height = layer.rect.height();
  const int lx = static_cast<int>(light.towards.x * 256),
            ly = static_cast<int>(light.towards.y * 256);
  // The blurred coverage taken as height: its slope is the surface's.
  const int reach = std::max(1, static_cast<int>(radius / 3));
  const SoftMap relief(layer.alpha, layer.rect, std::max(1.0, radius));
  const size_t padded = static_cast<size_t>(width + 2 * reach);
  std::vector<uint8_t> above(padded), here(padded), below(padded);
  for (int y = 0; y < height; ++y) {
    if (light.relief > 0) {
      const int row = layer.rect.y0 + y, from = layer.rect.x0 - reach,
                count = static_cast<int>(padded);
      relief.row(row - reach, from, count, above.data());
      relief.row(row, from, count, here.data());
      relief.row(row + reach, from, count, below.data());
    }
    uint8_t* rgb = layer.rgb.data() + static_cast<size_t>(y) * width * 3;
    const uint8_t* alpha = layer.alpha.data() + static_cast<size_t>(y) * width;
    for (int x = 0; x < width; ++x) {
      if (alpha[x] == 0) continue;
      const int slope_x = here[x] - here[x + 2 * reach],
                slope_y = above[x + reach] - below[x + reach];
      const int facing = -(slope_x * lx + slope_y * ly) >> 8;
      // Position along the light, -256 … 256 from edge to edge.
      const int px = (2 * x - width) * 256 / width, py = (2 * y - height) * 256 / height;
      const int side = (px * lx + py * ly) >> 8;
      // The surface rises inwards, so what faces the light has the lower side towards it.
      const int total = 256 - ((facing * light.relief) >> 8) + ((side * light.gradient) >> 8);
      const int bounded = std::clamp(total, 64, 448);
      for (int k = 0; k < 3; ++k) rgb[3 * x + k] = lit(rgb[3 * x + k], bounded);
    }
  }
}

void defocus(Layer& layer, const Rect& picture, int radius) {
  if (radius < 1 || layer.rect.empty()) return;
  Layer wide;
  wide.rect = layer.rect.grown(2 * radius + 1).within(picture);
  const size_t width = static_cast<size_t>(wide.rect.width());
  std::vector<uint8_t> rgba(width * wide.rect.height() * 4);
  for (int y = 0; y < layer.rect.height(); ++y)
    for (int x = 0; x < layer.rect.width(); ++x) {
      const size_t from = static_cast<size_t>(y) * layer.rect.width() + x;
      const size_t to =
          (y + layer.rect.y0 - wide.rect.y0) * width + (x + layer.rect.x0 - wide.rect.x0);
      const int a = layer.alpha[from];
      for (int k = 0; k < 3; ++k) rgba[4 * to + k] = divided(layer.rgb[3 * from + k] * a);
      rgba[4 * to + 3] = static_cast<uint8_t>(a);
    }
  box_blur(rgba.data(), wide.rect.width(), wide.rect.height(), 4, radius);
  const size_t pixels = rgba.size() / 4;
  wide.rgb.resize(3 * pixels);
  wide.alpha.resize(pixels);
  for (size_t i = 0; i < pixels; ++i) {
    const int a = rgba[4 * i + 3];
    wide.alpha[i] = static_cast<uint8_t>(a);
    for (int k = 0; k < 3; ++k)
      wide.rgb[3 * i + k] =
          static_cast<uint8_t>(a == 0 ? 0 : std::min(255, rgba[4 * i + k] * 255 / a));
  }
  layer = std::move(wide);
}

void cast_shadow(Canvas& canvas, const Layer& layer, const Light& light, double distance,
                 double softness) {
  if (layer.rect.empty() || light.shadow <= 0) return;
  const SoftMap map(layer.alpha, layer.rect, std::max(1.0, softness));
  const int dx = static_cast<int>(-light.towards.x * distance),
            dy = static_cast<int>(-light.towards.y * distance);
  Rect rect = map.rect();
  rect = Rect{rect.x0 + dx, rect.y0 + dy, rect.x1 + dx, rect.y1 + dy}.within(canvas.rect());
  if (rect.empty()) return;
  const int strength = static_cast<int>(light.shadow * 256);
  std::vector<uint8_t> dark(static_cast<size_t>(rect.width()));
  for (int y = rect.y0; y < rect.y1; ++y) {
    map.row(y - dy, rect.x0 - dx, rect.width(), dark.data());
    uint8_t* rgb = canvas.row(y) + 3 * rect.x0;
    for (int x = 0; x < rect.width(); ++x) {
      const int light_left = 256 - ((dark[x] * strength) >> 8);
      for (int k = 0; k < 3; ++k) rgb[3 * x + k] = lit(rgb[3 * x + k], light_left);
    }
  }
}

void compose(Canvas& canvas, const Layer& layer, uint8_t owner) {
  const Rect& rect = layer.rect;
  for (int y = rect.y0; y < rect.y1; ++y) {
    const size_t from = static_cast<size_t>(y - rect.y0) * rect.width();
    const size_t to = static_cast<size_t>(y) * canvas.width + rect.x0;
    for (int x = 0; x < rect.width(); ++x) {
      const int a = layer.alpha[from + x];
      if (a == 0) continue;
      const uint8_t* in = layer.rgb.data() + 3 * (from + x);
      uint8_t* out = canvas.rgb.data() + 3 * (to + x);
      for (int k = 0; k < 3; ++k) out[k] = divided(in[k] * a + out[k] * (255 - a));
      // What is seen of the others only shrinks, so a pixel has at most one candidate.
      uint8_t &whose = canvas.owner[to + x], &seen = canvas.seen[to + x];
      if (a >= 128) {
        whose = owner;
        seen = static_cast<uint8_t>(a);
      } else {
        seen = divided(seen * (255 - a));
        if (seen < 128) whose = 0;
      }
    }
  }
}

}  // namespace hrsam::image::scene

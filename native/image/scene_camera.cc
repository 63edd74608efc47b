#include "scene_camera.h"

#include <algorithm>
#include <array>
#include <cstdlib>

namespace hrsam::image::scene {

namespace {

struct Curves {
  std::array<std::array<uint8_t, 256>, 3> channel;
};

Curves exposure(Random& random) {
  Curves curves{};
  const double gain = random.uniform(0.75, 1.3), contrast = random.uniform(-0.3, 0.5),
               lift = random.lower(0, 0.12);
  for (auto& curve : curves.channel) {
    const double cast = random.uniform(0.92, 1.08);
    for (int i = 0; i < 256; ++i) {
      const double x = std::min(1.0, i / 255.0 * gain * cast);
      // Between the line and the smooth step.
      const double curved = x + contrast * (x * x * (3 - 2 * x) - x);
      curve[i] = byte(static_cast<int>((lift + (1 - lift) * curved) * 255 + 0.5));
    }
  }
  return curves;
}

void add_noise(Random& random, Canvas& canvas, const Curves& curves, int luma, int chroma) {
  const uint8_t* grain = grain_tile();
  for (int y = 0; y < canvas.height; ++y) {
    // A row starts anywhere in the tile; three rows for the channels.
    const uint64_t bits = random.bits();
    const uint32_t start = static_cast<uint32_t>(bits) & 0xffff;
    const uint32_t shift[3] = {static_cast<uint32_t>(bits >> 16) & 0xffff,
                               static_cast<uint32_t>(bits >> 32) & 0xffff,
                               static_cast<uint32_t>(bits >> 48) & 0xffff};
    uint8_t* row = canvas.row(y);
    for (int x = 0; x < canvas.width; ++x) {
      const int common = (grain[(start + x) & 0xffff] - 128) * luma;
      for (int k = 0; k < 3; ++k) {
        const int own = (grain[(shift[k] + x) & 0xffff] - 128) * chroma;
        row[3 * x + k] = byte(curves.channel[k][row[3 * x + k]] + ((common + own) >> 7));
      }
    }
  }
}

// Hadamard coefficients of 8 x 8 blocks, rounded: like JPEG's, blocks and ringing appear, at
// additions only.
void transform(int* v, int stride) {
  for (int half = 1; half < 8; half *= 2)
    for (int i = 0; i < 8; i += 2 * half)
      for (int k = i; k < i + half; ++k) {
        const int a = v[k * stride], b = v[(k + half) * stride];
        v[k * stride] = a + b;
        v[(k + half) * stride] = a - b;
      }
}

void compress(Canvas& canvas, int step) {
  constexpr int kSequency[8] = {0, 7, 3, 4,
                                1, 6, 2, 5};  // sign changes of each row of the transform
  std::array<int, 64> block, quantum;
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 8; ++x) quantum[y * 8 + x] = step * (4 + 3 * (kSequency[x] + kSequency[y]));
  for (int by = 0; by + 8 <= canvas.height; by += 8)
    for (int bx = 0; bx + 8 <= canvas.width; bx += 8)
      for (int k = 0; k < 3; ++k) {
        uint8_t* corner = canvas.row(by) + 3 * bx + k;
        const size_t pitch = static_cast<size_t>(canvas.width) * 3;
        for (int i = 0; i < 64; ++i) block[i] = corner[(i >> 3) * pitch + 3 * (i & 7)];
        for (int i = 0; i < 8; ++i) transform(&block[8 * i], 1);
        for (int i = 0; i < 8; ++i) transform(&block[i], 8);
        for (int i = 1; i < 64; ++i) {
          const int q = quantum[i], rounded = (std::abs(block[i]) + q / 2) / q * q;
          block[i] = block[i] < 0 ? -rounded : rounded;
        }
        for (int i = 0; i < 8; ++i) transform(&block[8 * i], 1);
        for (int i = 0; i < 8; ++i) transform(&block[i], 8);
        for (int i = 0; i < 64; ++i)
          corner[(i >> 3) * pitch + 3 * (i & 7)] = byte((block[i] + 32) >> 6);
      }
}

}  // namespace

void light_scene(Random& random, Canvas& canvas) {
  const int w = canvas.width, h = canvas.height;
  const Point towards = on_circle(random.uniform());
  const int gx = static_cast<int>(towards.x * random.lower(0, 130)),
            gy = static_cast<int>(towards.y * random.lower(0, 130));
  const int vignette = static_cast<int>(random.lower(0, 110));
  for (int y = 0; y < h; ++y) {
    const int py = (2 * y - h) * 256 / h;
    uint8_t* row = canvas.row(y);
    for (int x = 0; x < w; ++x) {
      const int px = (2 * x - w) * 256 / w;
      const int light =
          256 + ((px * gx + py * gy) >> 8) - (((px * px + py * py) >> 9) * vignette >> 8);
      for (int k = 0; k < 3; ++k) row[3 * x + k] = byte((row[3 * x + k] * light) >> 8);
    }
  }
  if (!random.chance(0.2)) return;
  Placement place;
  place.centre = {w * random.uniform(), h * random.uniform()};
  place.radius = std::max(w, h) * random.uniform(0.3, 0.9);
  place.turn = random.uniform();
  const Figure figure = random_figure(random, 1 / place.radius);
  const Layer layer = paint(figure, place, std::vector<Material>(kFigureMaterials), canvas.rect());
  Light sun;
  sun.shadow = random.uniform(0.2, 0.6);
  cast_shadow(canvas, layer, sun, 0, place.radius * random.lower(0.003, 0.08));
}

void photograph(Random& random, Canvas& canvas) {
  if (random.chance(0.3)) box_blur(canvas.rgb.data(), canvas.width, canvas.height, 3, 1);
  const Curves curves = exposure(random);
  const double noisy = random.chance(0.3) ? 24 : 8;
  const int luma = static_cast<int>(random.lower(0, noisy)),
            chroma = static_cast<int>(random.lower(0, noisy * 0.7));
  add_noise(random, canvas, curves, luma, chroma);
  if (random.chance(0.5)) compress(canvas, static_cast<int>(random.lower(4, 26)));
}

}  // namespace hrsam::image::scene

// What surfaces look like: a pattern of values 0 … 255, and a ramp of colours to look them up in.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "scene_random.h"

namespace hrsam::image::scene {

inline uint8_t byte(int v) { return static_cast<uint8_t>(std::clamp(v, 0, 255)); }

struct Colour {
  int r, g, b;  // 0 … 255
};

// Colours that recur in one scene, so that colour alone does not tell its objects apart.
class Palette {
 public:
  explicit Palette(Random& random);
  Colour pick(Random& random) const;

 private:
  std::array<Colour, 5> colours_;
};

enum class Pattern {
  plain,
  clouds,
  stripes,
  checker,
  brushed,
  spots,
  bricks,
  plaid,
  rings,
  mosaic
};
constexpr int kPatterns = 10;

struct Material {
  Pattern pattern = Pattern::plain;
  std::array<std::array<uint8_t, 3>, 256> ramp{};
  // Texture coordinates in 1/65536 of a texel; they wrap with the tiles' 256 texels.
  uint32_t u = 0, v = 0;
  int32_t across[2] = {0, 0}, down[2] = {0, 0};  // steps of (u, v) per column and per row
  int warp = 0;                                  // how far stripes and rings bend
  int grain = 0;                                 // noise of single pixels, 0 … 64
  int mottle = 0;                                // large-scale unevenness, 0 … 128

  // size: the surface's extent in pixels, which the pattern's scale follows.
  static Material random(Random& random, const Palette& palette, double size);
  // Another part of the same surface.
  Material moved(Random& random) const;
  void set_scale(Random& random, double texels_per_pixel);

  // RGB of `count` pixels from (x, y) on; `zoom` (1/65536) scales the steps, for surfaces that
  // recede.
  void row(int x, int y, int count, uint8_t* rgb, uint32_t zoom = 65536) const;
};

// Tile of grain, 256 x 256, mean 128.
const uint8_t* grain_tile();

}  // namespace hrsam::image::scene

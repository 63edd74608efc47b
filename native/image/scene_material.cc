#include "scene_material.h"

#include <algorithm>

namespace hrsam::image::scene {

namespace {

constexpr int kTile = 256;
using Tile = std::vector<uint8_t>;

// Value noise of `cells` cells across the tile, smooth, wrapping, added with a weight.
void add_noise(std::vector<float>& sum, Random& random, int cells, float weight) {
  std::vector<float> lattice(static_cast<size_t>(cells) * cells);
  for (float& value : lattice) value = static_cast<float>(random.uniform());
  const int size = kTile / cells;
  for (int y = 0; y < kTile; ++y)
    for (int x = 0; x < kTile; ++x) {
      const int i = x / size, j = y / size, i1 = (i + 1) % cells, j1 = (j + 1) % cells;
      float fx = static_cast<float>(x % size) / static_cast<float>(size);
      float fy = static_cast<float>(y % size) / static_cast<float>(size);
      fx = fx * fx * (3 - 2 * fx);
      fy = fy * fy * (3 - 2 * fy);
      const auto at = [&](int column, int row) { return lattice[row * cells + column]; };
      const float upper = at(i, j) + (at(i1, j) - at(i, j)) * fx;
      const float lower = at(i, j1) + (at(i1, j1) - at(i, j1)) * fx;
      sum[y * kTile + x] += weight * (upper + (lower - upper) * fy);
    }
}

Tile stretched(const std::vector<float>& values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  Tile tile(values.size());
  for (size_t i = 0; i < values.size(); ++i)
    tile[i] = static_cast<uint8_t>(255.99f * (values[i] - *low) / (*high - *low));
  return tile;
}

Tile fractal(uint64_t seed, int coarsest, float persistence) {
  Random random(seed);
  std::vector<float> sum(kTile * kTile);
  float weight = 1;
  for (int cells = coarsest; cells <= kTile; cells *= 2, weight *= persistence)
    add_noise(sum, random, cells, weight);
  return stretched(sum);
}

// Cellular noise (Worley 1996): distance to the nearest of scattered points, and which one it is.
struct Cellular {
  Tile distance, identity;
};
Cellular cellular(uint64_t seed) {
  constexpr int kCells = 16, kSize = kTile / kCells;
  Random random(seed);
  std::vector<float> px(kCells * kCells), py(px.size());
  Tile names(px.size());
  for (size_t i = 0; i < px.size(); ++i) {
    px[i] = static_cast<float>(random.uniform());
    py[i] = static_cast<float>(random.uniform());
    names[i] = static_cast<uint8_t>(random.below(256));
  }
  std::vector<float> nearest(kTile * kTile);
  Tile identity(kTile * kTile);
  for (int y = 0; y < kTile; ++y)
    for (int x = 0; x < kTile; ++x) {
      float best = 1e9f;
      for (int j = -1; j <= 1; ++j)
        for (int i = -1; i <= 1; ++i) {
          const int column = x / kSize + i, row = y / kSize + j;
          const int cell = (row + kCells) % kCells * kCells + (column + kCells) % kCells;
          const float dx = static_cast<float>(column) + px[cell] - static_cast<float>(x) / kSize;
          const float dy = static_cast<float>(row) + py[cell] - static_cast<float>(y) / kSize;
          const float squared = dx * dx + dy * dy;
          if (squared >= best) continue;
          best = squared;
          identity[y * kTile + x] = names[cell];
        }
      nearest[y * kTile + x] = std::sqrt(best);
    }
  return {stretched(nearest), std::move(identity)};
}

struct Tiles {
  Tile smooth = fractal(1, 4, 0.5f), rough = fractal(2, 16, 0.8f), grain = fractal(3, 128, 2.0f);
  Cellular cells = cellular(4);
};

const Tiles& tiles() {
  static const Tiles made;
  return made;
}

int look_up(const Tile& tile, uint32_t u, uint32_t v) {
  return tile[((v >> 16) & 255) << 8 | ((u >> 16) & 255)];
}

int interpolated(const Tile& tile, uint32_t u, uint32_t v) {
  const uint32_t x = (u >> 16) & 255, x1 = (x + 1) & 255, fx = (u >> 8) & 255;
  const uint32_t y = (v >> 8) & 0xff00, y1 = (y + 256) & 0xff00, fy = (v >> 8) & 255;
  const uint32_t upper = tile[y | x] * (256 - fx) + tile[y | x1] * fx;
  const uint32_t lower = tile[y1 | x] * (256 - fx) + tile[y1 | x1] * fx;
  return static_cast<int>((upper * (256 - fy) + lower * fy) >> 16);
}

// A wave of period 2²¹ (32 texels): 0 … 255 and back.
int triangle(uint32_t phase) {
  const int position = static_cast<int>((phase >> 12) & 511);
  return position < 256 ? position : 511 - position;
}

// The same with flat tops: most of a stripe has one colour.
int plateau(uint32_t phase) { return std::clamp(triangle(phase) * 4 - 384, 0, 255); }

int clouds(uint32_t u, uint32_t v) {
  const Tiles& t = tiles();
  return (interpolated(t.smooth, u, v) * 3 + interpolated(t.rough, u * 4, v * 4)) >> 2;
}

template <Pattern pattern>
int value(const Material& m, uint32_t u, uint32_t v) {
  const Tiles& t = tiles();
  const auto bend = [&] {
    return static_cast<uint32_t>(interpolated(t.smooth, u / 2, v / 2) * m.warp);
  };
  if constexpr (pattern == Pattern::plain) return 96 + (interpolated(t.rough, u, v) >> 2);
  if constexpr (pattern == Pattern::clouds) return clouds(u, v);
  if constexpr (pattern == Pattern::stripes) return plateau(u + (bend() << 8));
  if constexpr (pattern == Pattern::checker)
    return (((u ^ v) >> 20) & 1) * 160 + (interpolated(t.rough, u, v) >> 2);
  if constexpr (pattern == Pattern::brushed) return interpolated(t.rough, u, v * 16);
  if constexpr (pattern == Pattern::spots)
    return std::clamp(interpolated(t.cells.distance, u, v) * 5 - 384 + m.warp, 0, 255);
  if constexpr (pattern == Pattern::bricks) {
    const uint32_t row = v >> 19,
                   column = u + ((row & 1) << 19);  // courses 8 texels high, bricks 16 long
    if (((v >> 16) & 7) == 0 || ((column >> 16) & 15) == 0) return 0;
    const uint32_t brick = (row * 0x9e3779b1u) ^ ((column >> 20) * 0x85ebca6bu);
    return 110 + static_cast<int>((brick >> 16) & 63) + (look_up(t.rough, u * 4, v * 4) >> 2);
  }
  if constexpr (pattern == Pattern::plaid) return (plateau(u) + plateau(v * 2)) >> 1;
  if constexpr (pattern == Pattern::rings) {
    // Around the tile's middle.
    const float x = static_cast<float>(static_cast<int32_t>(u << 8) >> 8);
    const float y = static_cast<float>(static_cast<int32_t>(v << 8) >> 8);
    return triangle(static_cast<uint32_t>(std::sqrt(x * x + y * y)) + (bend() << 8));
  }
  if constexpr (pattern == Pattern::mosaic)
    return (look_up(t.cells.identity, u, v) * 3 + interpolated(t.smooth, u, v)) >> 2;
}

template <Pattern pattern>
void fill(const Material& m, int x, int y, int count, uint8_t* rgb, uint32_t zoom) {
  const auto scaled = [&](int32_t step) {
    return static_cast<uint32_t>((static_cast<int64_t>(step) * zoom) >> 16);
  };
  const uint32_t du = scaled(m.across[0]), dv = scaled(m.across[1]);
  const uint32_t columns = static_cast<uint32_t>(x), rows = static_cast<uint32_t>(y);
  uint32_t u = m.u + columns * du + rows * static_cast<uint32_t>(m.down[0]);
  uint32_t v = m.v + columns * dv + rows * static_cast<uint32_t>(m.down[1]);
  const uint8_t* grain = grain_tile() + ((y + (m.u >> 9)) & 255) * kTile;
  const Tiles& t = tiles();
  int light = 256;
  for (int i = 0; i < count; ++i, u += du, v += dv) {
    const auto& colour = m.ramp[value<pattern>(m, u, v)];
    // Unevenness is far larger than four pixels.
    if ((i & 3) == 0)
      light = 256 + (((interpolated(t.smooth, u / 8, v / 8) - 128) * m.mottle) >> 7);
    const int noise = ((grain[(x + i) & 255] - 128) * m.grain) >> 7;
    rgb[3 * i] = byte(((colour[0] * light) >> 8) + noise);
    rgb[3 * i + 1] = byte(((colour[1] * light) >> 8) + noise);
    rgb[3 * i + 2] = byte(((colour[2] * light) >> 8) + noise);
  }
}

using Fill = void (*)(const Material&, int, int, int, uint8_t*, uint32_t);
constexpr Fill kFills[kPatterns] = {
    fill<Pattern::plain>,   fill<Pattern::clouds>, fill<Pattern::stripes>, fill<Pattern::checker>,
    fill<Pattern::brushed>, fill<Pattern::spots>,  fill<Pattern::bricks>,  fill<Pattern::plaid>,
    fill<Pattern::rings>,   fill<Pattern::mosaic>};

// Hue 0 … 6, saturation and brightness 0 … 1.
Colour from_hsv(double hue, double saturation, double brightness) {
  const auto channel = [&](double offset) {
    double k = hue + offset;
    k -= 6 * std::floor(k / 6);
    const double lack = std::clamp(std::min(k, 4 - k), 0.0, 1.0);
    return static_cast<int>(255 * brightness * (1 - saturation * lack));
  };
  return {channel(5), channel(3), channel(1)};
}

Colour any_colour(Random& random) {
  const double hue = random.uniform(0, 6);
  const double saturation = random.lower(0, 0.95);
  const double brightness = random.uniform(0.08, 1);
  return from_hsv(hue, saturation, brightness);
}

// Greys, browns, greens, blues, skin: what photographs are mostly made of.
Colour natural_colour(Random& random) {
  constexpr double kRanges[][6] = {{0, 6, 0.0, 0.10, 0.05, 0.98},
                                   {0.3, 0.8, 0.25, 0.7, 0.10, 0.7},
                                   {1.1, 2.1, 0.25, 0.8, 0.10, 0.7},
                                   {3.2, 3.8, 0.10, 0.7, 0.25, 0.95},
                                   {0.2, 0.6, 0.20, 0.55, 0.45, 0.95}};
  const double* range = kRanges[random.below(5)];
  const double hue = random.uniform(range[0], range[1]);
  const double saturation = random.uniform(range[2], range[3]);
  const double brightness = random.uniform(range[4], range[5]);
  return from_hsv(hue, saturation, brightness);
}

Colour varied(Random& random, const Colour& colour, double amount) {
  const double light = 1 + random.uniform(-amount, amount);
  const auto channel = [&](int v) {
    return std::clamp(static_cast<int>(v * light + random.uniform(-60, 60) * amount), 0, 255);
  };
  const int r = channel(colour.r), g = channel(colour.g), b = channel(colour.b);
  return {r, g, b};
}

}  // namespace

const uint8_t* grain_tile() { return tiles().grain.data(); }

Palette::Palette(Random& random) {
  for (Colour& colour : colours_)
    colour = random.chance(0.8) ? natural_colour(random) : any_colour(random);
}

Colour Palette::pick(Random& random) const {
  if (random.chance(0.35)) return random.chance(0.6) ? natural_colour(random) : any_colour(random);
  const Colour& colour = colours_[random.below(static_cast<int>(colours_.size()))];
  return varied(random, colour, 0.35);
}

void Material::set_scale(Random& random, double texels_per_pixel) {
  const double turn =
      random.chance(0.4) ? random.below(4) * 0.25 + random.uniform(-0.02, 0.02) : random.uniform();
  const double aspect = random.uniform(0.7, 1.4), shear = random.uniform(-0.2, 0.2);
  const double scale = 65536 * texels_per_pixel, c = cosine(turn) * scale, s = sine(turn) * scale;
  across[0] = static_cast<int32_t>(c);
  down[0] = static_cast<int32_t>(s);
  across[1] = static_cast<int32_t>((-s + c * shear) * aspect);
  down[1] = static_cast<int32_t>((c + s * shear) * aspect);
}

Material Material::random(Random& random, const Palette& palette, double size) {
  Material m;
  const int draw = random.below(20);
  m.pattern = draw < 5    ? Pattern::plain
              : draw < 10 ? Pattern::clouds
                          : static_cast<Pattern>(random.below(kPatterns));
  // Two to four colours along the ramp; often close to each other.
  const int stops = random.between(2, 4);
  std::array<Colour, 4> colours{};
  colours[0] = palette.pick(random);
  const double spread = random.lower(0.1, 0.8);
  for (int i = 1; i < stops; ++i)
    colours[i] = random.chance(0.75) ? varied(random, colours[0], spread) : palette.pick(random);
  for (int i = 0; i < 256; ++i) {
    const int position = i * (stops - 1), stop = std::min(position / 255, stops - 2);
    const int f = position - stop * 255;
    const Colour &a = colours[stop], &b = colours[stop + 1];
    const auto between = [&](int from, int to) { return byte((from * (255 - f) + to * f) / 255); };
    m.ramp[i] = {between(a.r, b.r), between(a.g, b.g), between(a.b, b.b)};
  }
  m.u = static_cast<uint32_t>(random.bits());
  m.v = static_cast<uint32_t>(random.bits());
  m.set_scale(random, random.lower(24, 320) / std::max(size, 24.0));
  m.warp = random.below(64) * 16;
  if (m.pattern == Pattern::spots) m.warp = random.below(320);
  m.grain = static_cast<int>(random.chance(0.5) ? random.lower(0, 48) : random.lower(0, 8));
  m.mottle = static_cast<int>(random.lower(0, 120));
  return m;
}

Material Material::moved(Random& random) const {
  Material m = *this;
  m.u = static_cast<uint32_t>(random.bits());
  m.v = static_cast<uint32_t>(random.bits());
  return m;
}

void Material::row(int x, int y, int count, uint8_t* rgb, uint32_t zoom) const {
  kFills[static_cast<int>(pattern)](*this, x, y, count, rgb, zoom);
}

}  // namespace hrsam::image::scene

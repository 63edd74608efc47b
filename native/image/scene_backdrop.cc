#include "scene_backdrop.h"

#include <algorithm>

namespace hrsam::image::scene {

namespace {

void fill_rows(Canvas& canvas, const Material& material, int from, int to) {
  for (int y = from; y < to; ++y) material.row(0, y, canvas.width, canvas.row(y));
}

// Rows below the horizon lie further apart the nearer they are: 1 / depth.
void draw_floor(Random& random, const Palette& palette, Canvas& canvas, int horizon) {
  const int depth = canvas.height - horizon;
  if (depth < 1) return;
  Material floor = Material::random(random, palette, std::max(canvas.width, canvas.height));
  const double tilt = random.uniform(0.15, 0.6),
               scale = 65536 * random.uniform(60, 300) / canvas.width;
  const int middle = static_cast<int>(canvas.width * random.uniform(0.2, 0.8));
  const double turn = random.chance(0.5) ? 0 : random.uniform(-0.12, 0.12);
  const double c = cosine(turn), s = sine(turn);
  const Material start = floor;
  floor.down[0] = floor.down[1] = 0;
  for (int y = horizon; y < canvas.height; ++y) {
    const double near = (y - horizon + 1.0) / depth, distance = 1 / (near + tilt * 0.2);
    const double step = scale * distance * 0.5, away = scale * distance * tilt * canvas.height;
    floor.across[0] = static_cast<int32_t>(step * c);
    floor.across[1] = static_cast<int32_t>(step * s);
    const int64_t u =
        static_cast<int64_t>(-away * s) - static_cast<int64_t>(floor.across[0]) * middle;
    const int64_t v =
        static_cast<int64_t>(away * c) - static_cast<int64_t>(floor.across[1]) * middle;
    floor.u = start.u + static_cast<uint32_t>(u);
    floor.v = start.v + static_cast<uint32_t>(v);
    floor.row(0, y, canvas.width, canvas.row(y));
  }
}

// One surface over another where clouds or stripes are bright.
void draw_mixture(Random& random, const Palette& palette, Canvas& canvas) {
  const double size = std::max(canvas.width, canvas.height);
  const Material first = Material::random(random, palette, size),
                 second = Material::random(random, palette, size);
  Material choice;
  choice.pattern = random.chance(0.7) ? Pattern::clouds : Pattern::stripes;
  for (int i = 0; i < 256; ++i) choice.ramp[i].fill(byte((i - 112) * 8));
  choice.u = static_cast<uint32_t>(random.bits());
  choice.v = static_cast<uint32_t>(random.bits());
  choice.warp = 800;
  choice.set_scale(random, random.uniform(40, 200) / size);
  const size_t bytes = static_cast<size_t>(canvas.width) * 3;
  std::vector<uint8_t> other(bytes), weight(bytes);
  for (int y = 0; y < canvas.height; ++y) {
    uint8_t* row = canvas.row(y);
    first.row(0, y, canvas.width, row);
    second.row(0, y, canvas.width, other.data());
    choice.row(0, y, canvas.width, weight.data());
    for (size_t i = 0; i < bytes; ++i)
      row[i] = static_cast<uint8_t>((row[i] * (255 - weight[i]) + other[i] * weight[i]) / 255);
  }
}

void draw_hills(Random& random, const Palette& palette, Canvas& canvas, int horizon) {
  const int ridges = random.between(1, 3);
  const double w = canvas.width, h = canvas.height;
  for (int i = 0; i < ridges; ++i) {
    Figure hill;
    Contour line{{-0.1 * w, 2 * h}};
    const double top = horizon + (i - 1) * 0.1 * h, rough = random.uniform(0.01, 0.12) * h;
    const int points = random.between(5, 30);
    for (int k = 0; k <= points; ++k)
      line.push_back({(-0.1 + 1.2 * k / points) * w, top + random.uniform(-rough, rough)});
    line.push_back({1.1 * w, 2 * h});
    hill.add(random.chance(0.6) ? smoothed(line, 2) : line);
    compose(canvas, paint(hill, {}, {Material::random(random, palette, w)}, canvas.rect()), 0);
  }
}

}  // namespace

void draw_backdrop(Random& random, const Palette& palette, Canvas& canvas) {
  const double size = std::max(canvas.width, canvas.height);
  const int kind = random.below(10);
  if (kind < 3) return draw_mixture(random, palette, canvas);
  Material wall = Material::random(random, palette, size);
  if (kind < 8 && random.chance(0.5)) {  // plain sky or wall, brighter towards one side
    wall.pattern = Pattern::plain;
    wall.mottle = random.below(60);
  }
  fill_rows(canvas, wall, 0, canvas.height);
  const int horizon = static_cast<int>(canvas.height * random.uniform(0.2, 0.75));
  if (kind >= 5) draw_floor(random, palette, canvas, horizon);
  if (kind == 8 || kind == 9) draw_hills(random, palette, canvas, horizon);
  if (random.chance(0.2))
    box_blur(canvas.rgb.data(), canvas.width, canvas.height, 3,
             std::max(1, static_cast<int>(size * 0.004)));
}

void scatter(Random& random, const Palette& palette, const Light& light, Canvas& canvas) {
  const double size = std::max(canvas.width, canvas.height);
  const double largest = size * random.lower(0.012, 0.06), smallest = largest * 0.3;
  const int count = static_cast<int>(random.lower(10, 160));
  const int kinds = random.between(1, 3);
  // Anywhere, or only in the lower part.
  const double top = random.chance(0.5) ? 0 : random.uniform(0.2, 0.7);
  for (int kind = 0; kind < kinds; ++kind) {
    const std::vector<Material> materials(kFigureMaterials,
                                          Material::random(random, palette, 2 * largest));
    const int family = random.below(3);
    const double slender = random.uniform(0.15, 1);
    for (int i = 0; i < count / kinds; ++i) {
      Placement place;
      const double x = random.uniform(0, canvas.width), y = canvas.height * random.uniform(top, 1);
      place.centre = {x, y};
      place.radius = random.uniform(smallest, largest);
      place.turn = random.uniform();
      place.stretch = slender;
      Figure figure;
      if (family == 0) {
        figure.add(smoothed(jagged(random, 7, 0.5), 2));
      } else if (family == 1) {
        figure.add(ellipse({0, 0}, 1, 1, 0, 20));
      } else {  // blades of grass
        Part& blade = figure.part();
        place.stretch = 1;
        place.turn = random.uniform(-0.1, 0.1);
        add_stroke(blade.contours, bent({0, 1}, {0, -1}, random.uniform(-0.4, 0.4), 5),
                   0.2 * slender, 0.02);
      }
      const Layer layer = paint(figure, place, materials, canvas.rect());
      cast_shadow(canvas, layer, light, place.radius * 0.3, place.radius * 0.2);
      compose(canvas, layer, 0);
    }
  }
}

}  // namespace hrsam::image::scene

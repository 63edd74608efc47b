#include "scene.h"

#include <algorithm>
#include <utility>

#include "scene_backdrop.h"
#include "scene_camera.h"

namespace hrsam::image {

namespace scene {

Figure random_figure(Random& random, double pixel) {
  const double kind = random.uniform();
  Figure figure = kind < 0.3    ? shape_figure(random, pixel)
                  : kind < 0.5  ? line_figure(random, pixel)
                  : kind < 0.78 ? living_figure(random, pixel)
                                : made_figure(random, pixel);
  // Prints and patches: edges that are not the object's.
  const int prints = figure.thin || random.chance(0.6) ? 0 : random.between(1, 3);
  for (int i = 0; i < prints; ++i) {
    const Point at{random.uniform(-0.6, 0.6), random.uniform(-0.6, 0.6)};
    const double size = random.uniform(0.08, 0.45);
    const int corners = random.between(3, 9);
    Contour contour = jagged(random, corners, 0.4);
    contour = smoothed(std::move(contour), random.below(3));
    for (Point& p : contour) p = {at.x + p.x * size, at.y + p.y * size};
    figure.add(std::move(contour), random.below(kFigureMaterials), true);
  }
  return figure;
}

namespace {

std::vector<Material> random_materials(Random& random, const Palette& palette, double size) {
  std::vector<Material> materials;
  for (int i = 0; i < kFigureMaterials; ++i)
    materials.push_back(i > 0 && random.chance(0.3) ? materials[0].moved(random)
                                                    : Material::random(random, palette, size));
  return materials;
}

Light random_light(Random& random) {
  Light light;
  light.towards = on_circle(random.uniform(0.55, 0.95));  // from above
  light.shadow = random.chance(0.8) ? random.uniform(0.1, 0.7) : 0;
  light.relief = static_cast<int>(random.lower(0, 256));
  light.gradient = static_cast<int>(random.lower(0, 90));
  return light;
}

Placement random_placement(Random& random, const Canvas& canvas, const Placement& before) {
  Placement place;
  const double side = std::min(canvas.width, canvas.height);
  place.radius = side * random.lower(0.07, 0.5);
  const double x = random.uniform(0.05, 0.95), y = random.uniform(0.1, 0.95);
  place.centre = {x * canvas.width, y * canvas.height};
  if (random.chance(0.35)) {  // beside or in front of the one before
    const double turn = random.uniform();
    const Point shift = on_circle(turn, before.radius * random.uniform(0.4, 1.2));
    place.centre = {before.centre.x + shift.x, before.centre.y + shift.y};
  }
  place.stretch = random.uniform(0.75, 1.25);
  place.lean = random.uniform(-0.2, 0.2);
  place.mirrored = random.chance(0.5);
  place.bend = random.chance(0.5) ? random.lower(0, 0.25) : 0;
  place.bend_phase = random.uniform();
  return place;
}

// What recurs from object to object.
struct Previous {
  Placement place;
  Figure figure;
  std::vector<Material> materials;
};

Layer next_object(Random& random, const Palette& palette, const Light& light, Canvas& canvas,
                  Previous& last) {
  Placement place = random_placement(random, canvas, last.place);
  const bool again = !last.figure.parts.empty() && random.chance(0.2);
  if (again) {
    place.radius = last.place.radius * random.uniform(0.7, 1.2);
  } else {
    last.figure = random_figure(random, 1 / place.radius);
    if (last.figure.thin) place.radius *= 1.6;
    if (last.materials.empty() || !random.chance(0.15))
      last.materials = random_materials(random, palette, 2 * place.radius);
  }
  place.turn = last.figure.upright ? random.uniform(-0.05, 0.05) : random.uniform();
  last.place = place;
  Layer layer = paint(last.figure, place, last.materials, canvas.rect());
  Light own = light;
  if (random.chance(0.4)) own.relief = 0;
  shade(layer, own, place.radius * random.uniform(0.08, 0.3));
  if (random.chance(0.08))
    defocus(layer, canvas.rect(), std::max(1, static_cast<int>(place.radius * 0.03)));
  const double distance = place.radius * random.lower(0.02, 0.4);
  cast_shadow(canvas, layer, light, distance, distance * random.uniform(0.15, 0.7));
  return layer;
}

}  // namespace

}  // namespace scene

Scene generate_scene(uint64_t seed, int width, int height, int objects) {
  using namespace scene;
  Random random(seed);
  const Palette palette(random);
  const Light light = random_light(random);
  Canvas canvas(width, height);
  draw_backdrop(random, palette, canvas);
  if (random.chance(0.6)) scatter(random, palette, light, canvas);
  if (random.chance(0.2)) {
    const int radius = static_cast<int>(std::max(width, height) * random.uniform(0.002, 0.015));
    box_blur(canvas.rgb.data(), width, height, 3, std::max(1, radius));
  }
  const int count = objects > 0 ? std::min(objects, kMaxSceneObjects) : random.between(5, 16);
  Previous last;
  last.place.centre = {width * 0.5, height * 0.5};
  last.place.radius = std::min(width, height) * 0.3;
  for (int i = 0; i < count; ++i)
    compose(canvas, next_object(random, palette, light, canvas, last), static_cast<uint8_t>(i + 1));
  if (random.chance(0.2)) {  // something near the lens, out of focus
    Layer layer = next_object(random, palette, light, canvas, last);
    defocus(layer, canvas.rect(), std::max(2, static_cast<int>(std::max(width, height) * 0.01)));
    compose(canvas, layer, 0);
  }
  light_scene(random, canvas);
  photograph(random, canvas);
  return {width, height, std::move(canvas.rgb), std::move(canvas.owner), count};
}

}  // namespace hrsam::image

// Figures without meaning: shapes, rings, nets, letters, lines.
#include <algorithm>

#include "scene_figure.h"

namespace hrsam::image::scene {

namespace {

// Between one pixel and a share of the figure, thin ones as likely as thick ones.
double line_width(Random& random, double pixel, double thickest) {
  const double thin = random.uniform(1, 3.5) * pixel;
  return random.chance(0.4) ? thin : std::max(thin, random.lower(0.01, thickest));
}

Contour outline(Random& random) {
  switch (random.below(6)) {
    case 0:
      return ellipse({0, 0}, 1, random.uniform(0.35, 1), 0, 64);
    case 1:
      return jagged(random, random.between(3, 8), 0.6);
    case 2: {  // star or flower
      const int tips = random.between(4, 10);
      const double inner = random.uniform(0.3, 0.7);
      Contour star;
      for (int i = 0; i < 2 * tips; ++i)
        star.push_back(on_circle(0.5 * i / tips, i % 2 ? inner : 1));
      return smoothed(star, random.chance(0.5) ? 3 : 0);
    }
    case 3: {
      const double height = random.uniform(0.3, 1);
      return smoothed(box(-1, -height, 1, height), random.chance(0.5) ? 3 : 0);
    }
    default: {
      const int corners = random.between(5, 12);
      return smoothed(jagged(random, corners, random.uniform(0.3, 0.7)), 3);
    }
  }
}

Contour scaled(const Contour& contour, double factor, Point shift) {
  Contour result;
  for (const Point& p : contour) result.push_back({p.x * factor + shift.x, p.y * factor + shift.y});
  return result;
}

void add_holes(Random& random, Part& part) {
  if (random.chance(0.5)) {  // a ring of the outline itself
    const double factor = random.uniform(0.3, 0.9);
    const double shift = random.uniform(0, 1 - factor) * 0.5;
    part.contours.push_back(reversed(scaled(part.contours[0], factor, {shift, 0})));
    return;
  }
  const int count = random.between(1, 5);
  for (int i = 0; i < count; ++i) {
    const double turn = (i + random.uniform(0, 0.5)) / count;
    const Point at = on_circle(turn, random.uniform(0.2, 0.6));
    const double radius = random.uniform(0.08, 0.22);
    part.contours.push_back(reversed(ellipse(at, radius, radius * random.uniform(0.6, 1))));
  }
}

Figure plain_shape(Random& random, double pixel) {
  Figure figure;
  Contour contour = outline(random);
  if (random.chance(0.2)) {
    const double pitch = std::max(2 * pixel, 0.02);
    contour = roughened(random, contour, pitch, random.uniform(0.03, 0.15));
  }
  Part& part = figure.add(std::move(contour));
  if (random.chance(0.25)) add_holes(random, part);
  return figure;
}

// A plate with a grid of holes, or the bars between them.
Figure net(Random& random) {
  Figure figure;
  const int columns = random.between(3, 12), rows = random.between(2, 9);
  const double height = random.uniform(0.4, 1), open = random.uniform(0.35, 0.92);
  Part& part = figure.add(box(-1, -height, 1, height));
  const bool round = random.chance(0.4);
  const double w = 2.0 / columns, h = 2 * height / rows;
  const double rx = w * open / 2, ry = h * open / 2;
  for (int j = 0; j < rows; ++j)
    for (int i = 0; i < columns; ++i) {
      const Point at{-1 + (i + 0.5) * w, -height + (j + 0.5) * h};
      part.contours.push_back(reversed(round ? ellipse(at, rx, ry, 0, 20)
                                             : box(at.x - rx, at.y - ry, at.x + rx, at.y + ry)));
    }
  return figure;
}

// Strokes between points of a small lattice, as writing has them.
Figure letters(Random& random, double pixel) {
  Figure figure;
  figure.upright = true;
  Part& part = figure.part();
  const int count = random.between(1, 5);
  const double pitch = 2.0 / count,
               width = std::max(1.5 * pixel, pitch * random.uniform(0.06, 0.24));
  for (int letter = 0; letter < count; ++letter) {
    const auto lattice = [&] {
      const int column = random.below(3), row = random.below(3);
      return Point{-1 + (letter + 0.2 + 0.3 * column) * pitch, (row - 1) * pitch * 0.6};
    };
    Point from = lattice();
    const int strokes = random.between(2, 4);
    for (int i = 0; i < strokes; ++i) {
      const Point to = lattice();
      const double bend = random.chance(0.4) ? random.uniform(-0.7, 0.7) : 0;
      add_stroke(part.contours, bent(from, to, bend), width, width);
      from = to;
    }
  }
  return figure;
}

// Cables, scribbles, spirals.
Figure wire(Random& random, double pixel) {
  Figure figure;
  figure.thin = true;
  Part& part = figure.part();
  const double width = line_width(random, pixel, 0.06);
  const int count = random.between(1, 3);
  for (int i = 0; i < count; ++i) {
    if (random.chance(0.3)) {
      Path spiral;
      const double loops = random.uniform(1.5, 5);
      for (int k = 0; k <= 100; ++k) spiral.push_back(on_circle(k * loops / 100, 0.1 + 0.009 * k));
      add_stroke(part.contours, spiral, width, width);
    } else {
      const Point from = on_circle(random.uniform());
      const double turn = random.uniform();
      const double length = random.uniform(1.5, 4);
      add_stroke(part.contours, wander(random, from, turn, length, 0.25, 60), width, width);
    }
  }
  return figure;
}

void grow(Random& random, Contours& wood, Contours& leaves, Point from, double turn, double length,
          double width, int depth, double pixel) {
  const double end_width = std::max(width * 0.7, pixel);
  const Point offset = on_circle(turn, length);
  const Point to{from.x + offset.x, from.y + offset.y};
  add_stroke(wood, bent(from, to, random.uniform(-0.15, 0.15), 4), std::max(width, pixel),
             end_width);
  if (depth == 0) {
    const double size = random.uniform(0.03, 0.09);
    leaves.push_back(ellipse(to, size, size * 0.5, turn, 12));
    return;
  }
  const int branches = random.between(2, 3);
  for (int i = 0; i < branches; ++i) {
    const double spread = (i - (branches - 1) * 0.5) * 0.13 + random.uniform(-0.04, 0.04);
    const double shorter = length * random.uniform(0.6, 0.85);
    grow(random, wood, leaves, to, turn + spread, shorter, end_width, depth - 1, pixel);
  }
}

Figure tree(Random& random, double pixel) {
  Figure figure;
  figure.upright = figure.thin = true;
  figure.part();
  Contours wood, leaves;
  const double width = line_width(random, pixel, 0.2), trunk = random.uniform(0.5, 0.7);
  grow(random, wood, leaves, {0, 1}, -0.25, trunk, width, random.between(3, 5), pixel);
  figure.parts[0].contours = std::move(wood);
  if (random.chance(0.4)) figure.part(1).contours = std::move(leaves);
  return figure;
}

// Ladders, fences, grids of bars, racks.
Figure bars(Random& random, double pixel) {
  Figure figure;
  figure.upright = random.chance(0.7);
  figure.thin = true;
  Part& part = figure.part();
  const double width = line_width(random, pixel, 0.1), height = random.uniform(0.4, 1);
  const int upright = random.between(2, 12), level = random.between(1, 5);
  for (int i = 0; i < upright; ++i) {
    const double x = -1 + 2.0 * i / (upright - 1);
    add_stroke(part.contours, {{x, -height}, {x, height}}, width, width);
  }
  for (int i = 0; i < level; ++i) {
    const double y = level == 1 ? 0 : height * (-0.8 + 1.6 * i / (level - 1));
    add_stroke(part.contours, {{-1, y}, {1, y}}, width, width);
  }
  return figure;
}

Figure wheel(Random& random, double pixel) {
  Figure figure;
  figure.thin = true;
  const double rim = line_width(random, pixel, 0.15), spoke = line_width(random, pixel, 0.05);
  const int spokes = random.between(3, 20);
  Part& inner = figure.part(1);
  for (int i = 0; i < spokes; ++i)
    add_stroke(inner.contours, {{0, 0}, on_circle(static_cast<double>(i) / spokes, 0.98)}, spoke,
               spoke);
  const double hub = random.uniform(0.03, 0.2);
  inner.contours.push_back(ellipse({0, 0}, hub, hub));
  Part& outer = figure.add(ellipse({0, 0}, 1, 1, 0, 80));
  outer.contours.push_back(reversed(ellipse({0, 0}, 1 - rim, 1 - rim, 0, 80)));
  return figure;
}

}  // namespace

Figure shape_figure(Random& random, double pixel) {
  switch (random.below(5)) {
    case 0:
      return net(random);
    case 1:
      return letters(random, pixel);
    default:
      return plain_shape(random, pixel);
  }
}

Figure line_figure(Random& random, double pixel) {
  switch (random.below(5)) {
    case 0:
      return wire(random, pixel);
    case 1:
      return bars(random, pixel);
    case 2:
      return wheel(random, pixel);
    default:
      return tree(random, pixel);
  }
}

}  // namespace hrsam::image::scene

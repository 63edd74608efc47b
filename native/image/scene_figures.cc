// Figures with parts, as things in photographs have them: people, animals, plants, vessels,
// vehicles, boxes.
#include <algorithm>

#include "scene_figure.h"

namespace hrsam::image::scene {

namespace {

void add_limb(Part& part, Point from, Point joint, Point to, double width0, double width1) {
  const double middle = (width0 + width1) / 2;
  add_stroke(part.contours, {from, joint}, width0, middle);
  add_stroke(part.contours, {joint, to}, middle, width1);
}

// 0 skin, 1 top, 2 trousers and shoes, 3 hair and what is carried.
Figure person(Random& random, double) {
  Figure figure;
  figure.upright = true;
  const double build = random.uniform(0.75, 1.35), hip = 0.1 + random.uniform(-0.04, 0.04);
  const double shoulder = 0.17 * build, thick = 0.1 * build;
  for (const int side : {-1, 1}) {
    const Point knee{side * random.uniform(0.05, 0.22), 0.55};
    const Point foot{knee.x + random.uniform(-0.12, 0.12), 0.97};
    Part& leg = figure.part(2);
    add_limb(leg, {side * 0.06 * build, hip}, knee, foot, thick * 1.5, thick * 0.9);
    leg.contours.push_back(ellipse({foot.x + 0.04, foot.y}, 0.1, 0.04));
  }
  const bool skirt = random.chance(0.3);
  if (skirt) {
    const double flare = random.uniform(0.15, 0.35), hem = random.uniform(0.3, 0.75);
    figure.add({{-0.1, hip - 0.08}, {0.1, hip - 0.08}, {flare, hem}, {-flare, hem}}, 2);
  }
  figure.add(smoothed({{-shoulder, -0.52},
                       {shoulder, -0.52},
                       {shoulder * 0.8, -0.1},
                       {shoulder * 0.9, hip + 0.06},
                       {-shoulder * 0.9, hip + 0.06},
                       {-shoulder * 0.8, -0.1}},
                      2),
             1);
  for (const int side : {-1, 1}) {
    const Point elbow{side * random.uniform(0.18, 0.38), random.uniform(-0.45, -0.1)};
    const Point hand{elbow.x + random.uniform(-0.2, 0.2), elbow.y + random.uniform(-0.25, 0.3)};
    Part& sleeve = figure.part(random.chance(0.6) ? 1 : 0);
    add_stroke(sleeve.contours, {{side * shoulder * 0.85, -0.47}, elbow}, thick, thick * 0.8);
    Part& arm = figure.part(random.chance(0.5) ? 1 : 0);
    add_stroke(arm.contours, {elbow, hand}, thick * 0.8, thick * 0.6);
    figure.add(ellipse(hand, 0.045, 0.045, 0, 16), 0);
    if (random.chance(0.2)) {
      const double size = random.uniform(0.06, 0.14);
      figure.add(box(hand.x - size, hand.y, hand.x + size, hand.y + 1.6 * size), 3);
    }
  }
  figure.add(box(-0.045, -0.6, 0.045, -0.48), 0);
  const double head = random.uniform(0.1, 0.14);
  const Point face{random.uniform(-0.03, 0.03), -0.72};
  if (random.chance(0.5)) figure.add(ellipse({face.x, face.y + 0.03}, head * 1.15, head * 1.6), 3);
  figure.add(ellipse(face, head * 0.85, head * 1.15), 0);
  figure.add(ellipse({face.x, face.y - head * 0.6}, head * 0.95, head * 0.7), 3);
  return figure;
}

// 0 coat, 1 patches and mane.
Figure animal(Random& random, double pixel) {
  Figure figure;
  figure.upright = true;
  const double length = random.uniform(0.45, 0.65), depth = random.uniform(0.18, 0.34);
  const double leg = random.uniform(0.25, 0.6), thick = random.uniform(0.06, 0.13);
  Part& body = figure.part(0);
  for (int i = 0; i < 4; ++i) {
    const double x = (i < 2 ? -1 : 1) * length * random.uniform(0.6, 0.85);
    const Point knee{x + random.uniform(-0.1, 0.1), leg * 0.5 + depth * 0.5};
    const Point hoof{knee.x + random.uniform(-0.08, 0.08), leg + depth * 0.5};
    add_limb(body, {x, depth * 0.3}, knee, hoof, thick * 1.5, thick * 0.7);
    body.contours.push_back(ellipse({hoof.x - 0.02, hoof.y}, thick * 0.6, thick * 0.35, 0, 16));
  }
  Contour trunk = smoothed({{-length, -depth * 0.7},
                            {0, -depth * 0.8},
                            {length, -depth},
                            {length * 1.1, depth * 0.4},
                            {0, depth * random.uniform(0.7, 1.2)},
                            {-length * 1.05, depth * 0.6}},
                           3);
  if (random.chance(0.5)) trunk = roughened(random, trunk, std::max(pixel * 2, 0.015), 0.04);
  body.contours.push_back(std::move(trunk));
  const double neck = random.uniform(0.05, 0.45), reach = random.uniform(0.2, 0.4);
  const Point head{-length - reach, -depth - neck + 0.1};
  add_stroke(body.contours, {{-length * 0.75, -depth * 0.2}, head}, depth * 1.4, depth * 0.7);
  const double skull = random.uniform(0.12, 0.2);
  body.contours.push_back(ellipse(head, skull, skull * 0.8, 0.95));
  body.contours.push_back(
      ellipse({head.x - skull * 0.8, head.y + skull * 0.4}, skull * 0.7, skull * 0.4));
  for (const double shift : {0.0, 0.6}) {
    const Point ear{head.x + skull * shift, head.y - skull * 0.5};
    body.contours.push_back(adding(
        {{ear.x + skull * 0.3, ear.y}, {ear.x - skull * 0.2, ear.y}, {ear.x, ear.y - skull}}));
  }
  const Point tip{length + random.uniform(0.05, 0.4), random.uniform(-0.7, 0.5)};
  const double tuft = thick * random.uniform(0.2, 1);
  add_stroke(body.contours, bent({length, -depth * 0.5}, tip, random.uniform(-0.6, 0.6)), thick,
             tuft);
  if (random.chance(0.5)) {
    Part& patches = figure.part(1, true);
    for (int i = 0; i < 5; ++i) {
      const Point at{random.uniform(-length, length), random.uniform(-depth, depth)};
      const double size = random.uniform(0.05, 0.25), height = size * random.uniform(0.4, 1);
      patches.contours.push_back(ellipse(at, size, height, random.uniform()));
    }
  }
  return figure;
}

Contour leaf(Point from, double turn, double length, double width) {
  const Point offset = on_circle(turn, length), side = on_circle(turn + 0.25, width);
  const auto at = [&](double t, double s) {
    return Point{from.x + offset.x * t + side.x * s, from.y + offset.y * t + side.y * s};
  };
  return adding(
      smoothed({at(0, 0), at(0.25, 0.8), at(0.6, 1), at(1, 0), at(0.6, -1), at(0.25, -0.8)}, 2));
}

// Seen from above (stems from the middle) or from the side; leaves feathered or whole.
Figure plant(Random& random, double pixel) {
  Figure figure;
  const bool above = random.chance(0.6), feathered = random.chance(0.5);
  figure.upright = !above;
  Part& part = figure.part(0);
  const int stems = random.between(3, 9);
  const double stem = std::max(pixel, random.lower(0.005, 0.05));
  for (int i = 0; i < stems; ++i) {
    const double turn = above ? (i + random.uniform(0, 0.6)) / stems
                              : -0.25 + (i - stems * 0.5) * 0.07 + random.uniform(-0.03, 0.03);
    const Point from = above ? Point{0, 0} : Point{0, 0.9},
                offset = on_circle(turn, random.uniform(0.5, 1));
    const double reach = above ? 1 : 1.8;
    const Path path = bent(from, {from.x + offset.x * reach, from.y + offset.y * reach},
                           random.uniform(-0.2, 0.2));
    add_stroke(part.contours, path, stem, std::max(stem * 0.6, pixel));
    if (!feathered) {
      const double length = random.uniform(0.25, 0.5);
      part.contours.push_back(leaf(path[5], turn, length, length * random.uniform(0.15, 0.4)));
      continue;
    }
    const double width = std::max(pixel, random.uniform(0.008, 0.03));
    for (size_t k = 2; k < path.size(); ++k)
      for (const int side : {-1, 1}) {
        const Point tip = on_circle(turn + side * 0.12, 0.3 * (1.2 - 0.1 * static_cast<double>(k)));
        add_stroke(part.contours, {path[k], {path[k].x + tip.x, path[k].y + tip.y}}, width, pixel);
      }
  }
  if (random.chance(0.3)) {
    const double size = random.uniform(0.1, 0.25);
    figure.add(smoothed(jagged(random, 10, 0.4), 2), 1);
    for (Point& p : figure.parts[1].contours[0]) p = {p.x * size, p.y * size - (above ? 0 : 0.7)};
  }
  return figure;
}

Figure bird(Random& random, double) {
  Figure figure;
  figure.upright = true;
  Part& body = figure.part(0);
  const double depth = random.uniform(0.2, 0.35);
  body.contours.push_back(ellipse({0, 0}, 0.55, depth, random.uniform(-0.08, 0.08)));
  const Point head{-0.55, random.uniform(-0.4, -0.1)};
  body.contours.push_back(ellipse(head, 0.19, 0.17));
  add_stroke(body.contours, {{-0.35, 0}, head}, 0.32, 0.25);
  const double tail = random.uniform(-0.3, 0.1);
  body.contours.push_back(adding({{0.4, -0.12}, {1, tail}, {0.9, 0.2}, {0.4, 0.12}}));
  figure.add({{head.x - 0.14, head.y - 0.06},
              {head.x - 0.14, head.y + 0.06},
              {head.x - 0.4, head.y + 0.05}},
             1);
  const double raised = random.uniform(-0.35, 0.1);
  figure.add(leaf({-0.25, -0.05}, raised, random.uniform(0.6, 1), 0.18), 2);
  if (random.chance(0.5)) {
    Part& legs = figure.part(1);
    for (const double x : {-0.1, 0.1}) add_stroke(legs.contours, {{x, 0.2}, {x, 0.6}}, 0.03, 0.03);
  }
  return figure;
}

Figure bush(Random& random, double pixel) {
  Figure figure;
  Part& part = figure.part(0);
  const int lumps = random.between(4, 14);
  for (int i = 0; i < lumps; ++i) {
    const double turn = random.uniform();
    const Point at = on_circle(turn, random.uniform(0, 0.65));
    const double size = random.uniform(0.2, 0.4);
    Contour lump = ellipse(at, size, size * random.uniform(0.7, 1), 0, 24);
    if (i % 2 == 0) lump = roughened(random, lump, std::max(2 * pixel, 0.03), 0.06);
    part.contours.push_back(std::move(lump));
  }
  return figure;
}

// Turned on a wheel: a profile and its mirror image; sometimes handles.
Figure vessel(Random& random, double pixel) {
  Figure figure;
  figure.upright = true;
  if (random.chance(0.4)) {
    Part& handle = figure.part(0);
    const double width = std::max(2 * pixel, random.uniform(0.03, 0.1)),
                 reach = random.uniform(0.5, 0.9);
    add_stroke(handle.contours, bent({0.3, -0.5}, {0.3, 0.4}, -reach, 14), width, width);
  }
  const int levels = random.between(3, 7);
  Contour right, left;
  for (int i = 0; i < levels; ++i) {
    const double y = -1 + 2.0 * i / (levels - 1), x = random.uniform(0.12, 0.6);
    right.push_back({x, y});
    left.push_back({-x, y});
  }
  right.insert(right.end(), left.rbegin(), left.rend());
  figure.add(random.chance(0.7) ? smoothed(right, 3) : right, 0);
  const double band = random.uniform(-0.6, 0.4);
  if (random.chance(0.6)) figure.add(box(-1, band, 1, band + random.uniform(0.1, 0.5)), 1, true);
  if (random.chance(0.3)) figure.add(ellipse({0, -0.93}, 0.3, 0.08), 2);
  return figure;
}

Figure vehicle(Random& random, double pixel) {
  Figure figure;
  figure.upright = true;
  const double roof = random.uniform(-0.75, -0.45), hood = random.uniform(-0.2, 0),
               wheel = random.uniform(0.16, 0.26);
  const double front = random.uniform(-0.7, -0.3), back = random.uniform(0.3, 0.95);
  figure.add(smoothed({{-1, 0.3},
                       {-1, hood},
                       {front - 0.2, hood - 0.05},
                       {front, roof},
                       {back, roof},
                       {0.98, hood},
                       {1, 0.3}},
                      random.between(0, 2)),
             0);
  const double posts = std::max(pixel, 0.03), sill = hood - 0.04;
  const int windows = random.between(1, 3);
  for (int i = 0; i < windows; ++i) {
    const double pitch = (back - front) / windows, x = front + pitch * i;
    figure.add({{x + posts, roof + 0.07},
                {x + pitch - posts, roof + 0.07},
                {x + pitch - posts, sill},
                {x + posts, sill}},
               2, true);
  }
  for (const double x : {-0.6, 0.6}) {
    figure.add(ellipse({x, 0.3}, wheel, wheel), 3);
    figure.add(ellipse({x, 0.3}, wheel * 0.55, wheel * 0.55), 1);
  }
  return figure;
}

// Three faces of a box, the same material in different light.
Figure crate(Random& random, double) {
  Figure figure;
  figure.upright = true;
  const double ridge = random.uniform(-0.5, 0.5), rise = random.uniform(0.1, 0.4),
               height = random.uniform(0.4, 1);
  figure.add({{-0.9, -rise}, {ridge, 0}, {ridge, height}, {-0.9, height - rise}}, 0);
  figure.add({{ridge, 0}, {0.9, -rise}, {0.9, height - rise}, {ridge, height}}, 1);
  figure.add({{-0.9, -rise}, {-ridge, -2 * rise}, {0.9, -rise}, {ridge, 0}}, 2);
  return figure;
}

// Chairs, tables, stands, lamps.
Figure furniture(Random& random, double pixel) {
  Figure figure;
  figure.upright = true;
  Part& frame = figure.part(0);
  const double width = std::max(1.5 * pixel, random.lower(0.02, 0.12)),
               seat = random.uniform(-0.2, 0.3);
  const int legs = random.between(2, 4);
  for (int i = 0; i < legs; ++i) {
    const double x = -0.6 + 1.2 * i / (legs - 1), foot = x * random.uniform(0.9, 1.2);
    add_stroke(frame.contours, {{x, seat}, {foot, i % 2 ? 0.85 : 1}}, width, width * 0.8);
  }
  figure.add({{-0.75, seat - 0.05}, {0.7, seat - 0.08}, {0.75, seat + 0.08}, {-0.7, seat + 0.1}},
             1);
  if (random.chance(0.6)) {
    Part& back = figure.part(random.below(2));
    const double top = seat - random.uniform(0.5, 0.9);
    const int slats = random.between(2, 5);
    for (int i = 0; i < slats; ++i) {
      const double x = -0.65 + 1.3 * i / (slats - 1);
      add_stroke(back.contours, {{x, seat}, {x, top}}, width, width);
    }
    add_stroke(back.contours, {{-0.65, top}, {0.65, top}}, width * 1.6, width * 1.6);
  }
  return figure;
}

}  // namespace

Figure living_figure(Random& random, double pixel) {
  switch (random.below(8)) {
    case 0:
    case 1:
      return person(random, pixel);
    case 2:
    case 3:
      return animal(random, pixel);
    case 4:
    case 5:
      return plant(random, pixel);
    case 6:
      return bird(random, pixel);
    default:
      return bush(random, pixel);
  }
}

Figure made_figure(Random& random, double pixel) {
  switch (random.below(4)) {
    case 0:
      return vessel(random, pixel);
    case 1:
      return vehicle(random, pixel);
    case 2:
      return crate(random, pixel);
    default:
      return furniture(random, pixel);
  }
}

}  // namespace hrsam::image::scene

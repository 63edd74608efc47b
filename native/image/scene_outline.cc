#include "scene_outline.h"

#include <algorithm>

namespace hrsam::image::scene {

namespace {

double twice_area(const Contour& contour) {
  double sum = 0;
  for (size_t i = 0; i < contour.size(); ++i) {
    const Point &a = contour[i], &b = contour[(i + 1) % contour.size()];
    sum += a.x * b.y - b.x * a.y;
  }
  return sum;
}

Point middle(const Point& a, const Point& b, double t) {
  return {a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t};
}

}  // namespace

Point on_circle(double turn, double radius) { return {radius * cosine(turn), radius * sine(turn)}; }

Contour ellipse(Point centre, double rx, double ry, double turn, int points) {
  Contour contour;
  const double c = cosine(turn), s = sine(turn);
  for (int i = 0; i < points; ++i) {
    const Point p = on_circle(static_cast<double>(i) / points);
    contour.push_back(
        {centre.x + rx * p.x * c - ry * p.y * s, centre.y + rx * p.x * s + ry * p.y * c});
  }
  return contour;
}

Contour jagged(Random& random, int corners, double inner) {
  Contour contour;
  for (int i = 0; i < corners; ++i) {
    const double turn = (i + random.uniform(-0.3, 0.3)) / corners;
    contour.push_back(on_circle(turn, random.uniform(inner, 1)));
  }
  return contour;
}

Contour smoothed(Contour contour, int times) {
  for (int i = 0; i < times; ++i) {
    Contour next;
    next.reserve(2 * contour.size());
    for (size_t k = 0; k < contour.size(); ++k) {
      const Point &a = contour[k], &b = contour[(k + 1) % contour.size()];
      next.push_back(middle(a, b, 0.25));
      next.push_back(middle(a, b, 0.75));
    }
    contour = std::move(next);
  }
  return contour;
}

Contour roughened(Random& random, const Contour& contour, double pitch, double height) {
  Contour spiky;
  for (size_t k = 0; k < contour.size(); ++k) {
    const Point &a = contour[k], &b = contour[(k + 1) % contour.size()];
    const double dx = b.x - a.x, dy = b.y - a.y, length = std::sqrt(dx * dx + dy * dy);
    const int pieces = std::min(400, std::max(1, static_cast<int>(length / pitch)));
    for (int i = 0; i < pieces; ++i) {
      const Point p = middle(a, b, static_cast<double>(i) / pieces);
      const double out = random.lower(0, height) / std::max(length, 1e-9);
      spiky.push_back({p.x + dy * out, p.y - dx * out});
    }
  }
  return spiky;
}

Contour reversed(Contour contour) {
  std::reverse(contour.begin(), contour.end());
  return contour;
}

Contour adding(Contour contour) {
  return twice_area(contour) < 0 ? reversed(std::move(contour)) : contour;
}

Contour box(double x0, double y0, double x1, double y1) {
  return {{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}};
}

void add_stroke(Contours& contours, const Path& path, double width0, double width1) {
  const int last = static_cast<int>(path.size()) - 1;
  const auto half_width = [&](int i) {
    return 0.5 * (width0 + (width1 - width0) * i / std::max(last, 1));
  };
  for (int i = 0; i < last; ++i) {
    const Point &a = path[i], &b = path[i + 1];
    const double dx = b.x - a.x, dy = b.y - a.y, length = std::sqrt(dx * dx + dy * dy);
    if (length <= 0) continue;
    const double nx = -dy / length, ny = dx / length, r = half_width(i), s = half_width(i + 1);
    contours.push_back(adding({{a.x + nx * r, a.y + ny * r},
                               {b.x + nx * s, b.y + ny * s},
                               {b.x - nx * s, b.y - ny * s},
                               {a.x - nx * r, a.y - ny * r}}));
  }
  for (int i = 0; i <= last; ++i)
    contours.push_back(ellipse(path[i], half_width(i), half_width(i), 0, 12));
}

Path bent(Point from, Point to, double bend, int segments) {
  const double dx = to.x - from.x, dy = to.y - from.y;
  const Point control{(from.x + to.x) / 2 - dy * bend, (from.y + to.y) / 2 + dx * bend};
  Path path;
  for (int i = 0; i <= segments; ++i) {
    const double t = static_cast<double>(i) / segments;
    path.push_back(middle(middle(from, control, t), middle(control, to, t), t));
  }
  return path;
}

Path wander(Random& random, Point from, double turn, double length, double curl, int segments) {
  Path path{from};
  double change = 0;
  for (int i = 0; i < segments; ++i) {
    change = change * 0.7 + random.uniform(-curl, curl) / segments * 3;
    turn += change;
    const Point step = on_circle(turn, length / segments);
    path.push_back({path.back().x + step.x, path.back().y + step.y});
  }
  return path;
}

}  // namespace hrsam::image::scene

// Outlines that figures are built of. All add coverage unless reversed.
#pragma once

#include "scene_random.h"
#include "scene_raster.h"

namespace hrsam::image::scene {

// Points of an ellipse, turned by `turn` (1: full circle).
Contour ellipse(Point centre, double rx, double ry, double turn = 0, int points = 40);

// A wheel of corners between radius `inner` and 1, at uneven angles.
Contour jagged(Random& random, int corners, double inner);

// Corners cut `times` times (Chaikin 1974): a polygon becomes a smooth shape.
Contour smoothed(Contour contour, int times);

// Spikes along the outline: fur, grass, torn paper. `pitch`: their distance.
Contour roughened(Random& random, const Contour& contour, double pitch, double height);

Contour reversed(Contour contour);

// The same line in the direction that adds.
Contour adding(Contour contour);

// A four-cornered piece with parallel sides around (x0, y0) … (x1, y1).
Contour box(double x0, double y0, double x1, double y1);

// An open line. Its stroke is the union of its thick segments and round joints.
using Path = std::vector<Point>;
void add_stroke(Contours& contours, const Path& path, double width0, double width1);

// From one point to another, bent sideways by `bend` times its length.
Path bent(Point from, Point to, double bend, int segments = 8);

// A smooth walk over `length`.
Path wander(Random& random, Point from, double turn, double length, double curl, int segments);

Point on_circle(double turn, double radius = 1);

}  // namespace hrsam::image::scene

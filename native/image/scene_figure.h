// The things in a scene: parts made of outlines, in units of the figure's radius.
#pragma once

#include "scene_outline.h"

namespace hrsam::image::scene {

struct Part {
  Contours contours;
  int material = 0;     // which of the figure's materials
  bool inside = false;  // cut to what the figure covers so far: prints, patches, windows
};

struct Figure {
  std::vector<Part> parts;
  bool upright = false;  // stays the right way up
  bool thin = false;     // made of lines: drawn large

  Part& part(int material = 0, bool inside = false) {
    parts.push_back({{}, material, inside});
    return parts.back();
  }
  Part& add(Contour contour, int material = 0, bool inside = false) {
    Part& made = part(material, inside);
    made.contours.push_back(adding(std::move(contour)));
    return made;
  }
};

constexpr int kFigureMaterials = 4;

// pixel: the size of a pixel in the figure's units; lines may be as thin as one.
Figure random_figure(Random& random, double pixel);

// Simple outlines, nets, rings, letters, and things made of lines.
Figure shape_figure(Random& random, double pixel);
Figure line_figure(Random& random, double pixel);
// People, animals, plants, vessels, vehicles, boxes.
Figure living_figure(Random& random, double pixel);
Figure made_figure(Random& random, double pixel);

}  // namespace hrsam::image::scene

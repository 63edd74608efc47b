// A figure put into the picture: painted, lit, shaded, and counted as somebody's pixels.
#pragma once

#include "scene_figure.h"
#include "scene_material.h"

namespace hrsam::image::scene {

// The picture so far, and whose pixel each is: the only object of which at least half is seen
// there.
struct Canvas {
  int width, height;
  std::vector<uint8_t> rgb;
  std::vector<uint8_t> owner;  // 0: nobody's, else 1 + the object's number
  std::vector<uint8_t> seen;   // how much of the owner is seen, 128 … 255

  Canvas(int w, int h);
  Rect rect() const { return {0, 0, width, height}; }
  uint8_t* row(int y) { return rgb.data() + static_cast<size_t>(y) * width * 3; }
};

struct Placement {
  Point centre{0, 0};
  double radius = 1;  // pixels
  double turn = 0, stretch = 1, lean = 0;
  bool mirrored = false;
  double bend = 0, bend_phase = 0;  // a wave through the figure
};

struct Light {
  Point towards{0, -1};  // unit vector
  double shadow = 0;     // 0 … 1
  int relief = 0;        // how rounded surfaces look, 0 … 256
  int gradient = 0;      // how much brighter the lit side is, 0 … 128
};

struct Layer {
  Rect rect;
  std::vector<uint8_t> rgb;    // not multiplied by alpha
  std::vector<uint8_t> alpha;  // 0 … 255
};

// The figure's coverage and colours within the picture.
Layer paint(const Figure& figure, const Placement& placement,
            const std::vector<Material>& materials, const Rect& picture);
// Darkens what faces away from the light.
void shade(Layer& layer, const Light& light, double radius);
void defocus(Layer& layer, const Rect& picture, int radius);

// The shadow that the layer throws on what lies behind.
void cast_shadow(Canvas& canvas, const Layer& layer, const Light& light, double distance,
                 double softness);
// owner: 0 for things that belong to nobody.
void compose(Canvas& canvas, const Layer& layer, uint8_t owner);

}  // namespace hrsam::image::scene

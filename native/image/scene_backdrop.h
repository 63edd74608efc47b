// What lies behind the objects.
#pragma once

#include "scene_layer.h"

namespace hrsam::image::scene {

// A wall, a floor that recedes, hills under a sky, or two surfaces that mix.
void draw_backdrop(Random& random, const Palette& palette, Canvas& canvas);

// Many small things that are nobody's object: gravel, grass, leaves, litter.
void scatter(Random& random, const Palette& palette, const Light& light, Canvas& canvas);

}  // namespace hrsam::image::scene

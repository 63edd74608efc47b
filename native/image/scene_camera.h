// What light and camera do to the finished picture.
#pragma once

#include "scene_layer.h"

namespace hrsam::image::scene {

// Uneven light, sometimes with shadows of things outside of the picture.
void light_scene(Random& random, Canvas& canvas);

// Lens blur, exposure, contrast, colour cast, noise and the blocks of lossy compression.
void photograph(Random& random, Canvas& canvas);

}  // namespace hrsam::image::scene

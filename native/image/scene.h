// Endless training pictures: cluttered collages of textured things whose visible parts are known
// exactly.
#pragma once

#include <cstdint>
#include <vector>

namespace hrsam::image {

struct Scene {
  int width = 0, height = 0;
  std::vector<uint8_t> rgb;    // height x width x 3
  std::vector<uint8_t> owner;  // height x width: 0, or 1 + the number of the object seen there
  int objects = 0;
};

constexpr int kMaxSceneObjects = 64;
constexpr int64_t kMinSceneSide = 16, kMaxScenePixels = int64_t{1} << 26;

// The same bytes for the same arguments on every machine. objects 0: 5 to 16, as the seed has it. A
// pixel is an object's where at least half of it is seen of that object; objects that are hidden
// altogether own nothing. May throw std::bad_alloc.
Scene generate_scene(uint64_t seed, int width, int height, int objects);

}  // namespace hrsam::image

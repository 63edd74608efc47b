// Training samples: parts of pictures, resized, recoloured and laid over each other.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace hrsam::image {

struct SampleLayer {
  const uint8_t* rgb = nullptr;   // height x width x 3
  const uint8_t* mask = nullptr;  // height x width, set where not 0
  int width = 0, height = 0;
  // Output pixel (i, j) shows the source at x + (i + 0.5) · step_x + (j + 0.5) · turn_x - 0.5 and
  // y + (i + 0.5) · turn_y + (j + 0.5) · step_y - 0.5; a negative step mirrors. What is beyond the
  // source's border is the border's.
  double x = 0, y = 0, step_x = 1, step_y = 1, turn_x = 0, turn_y = 0;
  // Three rows (r, g, b, constant) in 1/1024; the constant is in 1/1024 of a level.
  std::array<int32_t, 12> colour{1024, 0, 0, 0, 0, 1024, 0, 0, 0, 0, 1024, 0};
};

struct SampleSpec {
  int size = 0;  // side of the square
  int width = 0,
      height = 0;  // the part of it that is picture; the rest, right and below, is padding
  // The first fills the picture; of the others only the masked objects are pasted, in this order.
  std::vector<SampleLayer> layers;
  int target = 0;  // whose object is labelled
  // Masks of further objects of the first layer's picture, each labelled on its own.
  std::vector<const uint8_t*> others;
  int feather = 0;    // how softly pasted objects end, in pixels
  int shadow = 0;     // how dark the shadows of pasted objects are, 0 … 256
  int blur = 0;       // radius, in pixels
  int noise = 0;      // strength of the grain, 0 … 64
  uint64_t seed = 0;  // of the grain
};

struct Sample {
  std::vector<uint8_t> rgb;  // size x size x 3, 0 in the padding
  std::vector<uint8_t>
      mask;  // size x size: 1 where at least half a pixel is the object, 255: padding
  std::vector<std::vector<uint8_t>> others;  // the same of the others
};

// Bilinear with half-pixel centres and no antialiasing, as the model resizes. The same bytes on
// every machine. May throw std::bad_alloc.
Sample make_sample(const SampleSpec& spec);

}  // namespace hrsam::image

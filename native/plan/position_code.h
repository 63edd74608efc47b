// SAM's position code of a point: its coordinates in [0, 1] mapped to [-1, 1], projected on random
// frequencies, then sines and cosines (Segment Anything, arXiv 2304.02643, prompt encoder).
#pragma once

#include "op.h"

namespace HRSAM_OPS {

// The angle that a coordinate in [0, 1] contributes at a frequency.
HRSAM_BOTH double position_angle(double coordinate, float frequency) {
  constexpr double kTwoPi = 6.283185307179586;
  return kTwoPi * ((2 * coordinate - 1) * static_cast<double>(frequency));
}

}  // namespace HRSAM_OPS

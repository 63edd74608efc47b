// Numbers that every attention kernel agrees on.
#pragma once

#include "op.h"

namespace HRSAM_OPS {

constexpr int kMaxHead = 512;      // channels of a head
constexpr int kMaxSide = 1 << 20;  // of a grid
constexpr float kLog2E = 1.442695041f;
constexpr float kMasked = -1e30f;  // finite, so that no difference of two of them is undefined

}  // namespace HRSAM_OPS

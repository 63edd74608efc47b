// bf16 <-> f32, one number at a time.
#pragma once

#include <string.h>

#include "op.h"

// Internal linkage and always inlined: no copy compiled for one processor can end up on another.
#define HRSAM_INLINE [[gnu::always_inline, maybe_unused]] static inline

namespace hrsam::cpu::HRSAM_ISA {

HRSAM_INLINE float to_f32(float x) { return x; }
HRSAM_INLINE float to_f32(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}
HRSAM_INLINE bf16 to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
  return static_cast<bf16>((x != x ? bits | 0x400000 : rounded) >> 16);
}

}  // namespace hrsam::cpu::HRSAM_ISA

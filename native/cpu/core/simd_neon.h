// Vector primitives on 64-bit Arm.
#pragma once

#include <arm_neon.h>

#include "bf16.h"

namespace hrsam::cpu::HRSAM_ISA {

using V = float32x4_t;
constexpr int kWidth = 4;

HRSAM_INLINE V zero() { return vdupq_n_f32(0); }
HRSAM_INLINE V set1(float x) { return vdupq_n_f32(x); }
HRSAM_INLINE V load(const float* p) { return vld1q_f32(p); }
HRSAM_INLINE void store(float* p, V x) { vst1q_f32(p, x); }
HRSAM_INLINE V load(const bf16* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
HRSAM_INLINE void store(bf16* p, V x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
  vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), rounded, quiet), 16));
}
HRSAM_INLINE V load_n(const float* p, int n) {
  float lanes[kWidth] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
HRSAM_INLINE V load_n(const bf16* p, int n) {
  bf16 lanes[kWidth] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
HRSAM_INLINE void store_n(float* p, V x, int n) {
  float lanes[kWidth];
  store(lanes, x);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
HRSAM_INLINE void store_n(bf16* p, V x, int n) {
  bf16 lanes[kWidth];
  store(lanes, x);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

HRSAM_INLINE V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
HRSAM_INLINE V fnma(V a, V b, V c) { return vfmsq_f32(c, a, b); }
HRSAM_INLINE V min(V a, V b) { return vminq_f32(a, b); }
HRSAM_INLINE V max(V a, V b) { return vmaxq_f32(a, b); }
HRSAM_INLINE V abs(V x) { return vabsq_f32(x); }
HRSAM_INLINE V sqrt(V x) { return vsqrtq_f32(x); }
HRSAM_INLINE V round(V x) { return vrndnq_f32(x); }
// In two halves, so that denormal results and n up to 254 come out right.
HRSAM_INLINE V scale2(V x, V n) {
  const int32x4_t all = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(all, 1);
  const int32x4_t rest = vsubq_s32(all, half);
  const int32x4_t bias = vdupq_n_s32(127);
  const V a = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  const V b = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
  return x * a * b;
}
HRSAM_INLINE V select_greater(V a, V b, V yes, V no) { return vbslq_f32(vcgtq_f32(a, b), yes, no); }
HRSAM_INLINE bool any_greater(V a, V b) { return vmaxvq_u32(vcgtq_f32(a, b)) != 0; }
HRSAM_INLINE float reduce_add(V x) { return vaddvq_f32(x); }
HRSAM_INLINE float reduce_max(V x) { return vmaxvq_f32(x); }

}  // namespace hrsam::cpu::HRSAM_ISA

// A vector of one lane: the plain reading of the primitives, on any processor.
#pragma once

#include <math.h>

#include "bf16.h"

namespace hrsam::cpu::HRSAM_ISA {

using V = float;
constexpr int kWidth = 1;

HRSAM_INLINE V zero() { return 0; }
HRSAM_INLINE V set1(float x) { return x; }
HRSAM_INLINE V load(const float* p) { return *p; }
HRSAM_INLINE V load(const bf16* p) { return to_f32(*p); }
HRSAM_INLINE void store(float* p, V x) { *p = x; }
HRSAM_INLINE void store(bf16* p, V x) { *p = to_bf16(x); }
HRSAM_INLINE V load_n(const float* p, int n) { return n > 0 ? load(p) : 0; }
HRSAM_INLINE V load_n(const bf16* p, int n) { return n > 0 ? load(p) : 0; }
HRSAM_INLINE void store_n(float* p, V x, int n) {
  if (n > 0) store(p, x);
}
HRSAM_INLINE void store_n(bf16* p, V x, int n) {
  if (n > 0) store(p, x);
}

HRSAM_INLINE V fma(V a, V b, V c) { return a * b + c; }
HRSAM_INLINE V fnma(V a, V b, V c) { return c - a * b; }
HRSAM_INLINE V min(V a, V b) { return a < b ? a : b; }
HRSAM_INLINE V max(V a, V b) { return a > b ? a : b; }
HRSAM_INLINE V abs(V x) { return ::fabsf(x); }
HRSAM_INLINE V sqrt(V x) { return ::sqrtf(x); }
HRSAM_INLINE V select_greater(V a, V b, V yes, V no) { return a > b ? yes : no; }
HRSAM_INLINE bool any_greater(V a, V b) { return a > b; }
HRSAM_INLINE float reduce_add(V x) { return x; }
HRSAM_INLINE float reduce_max(V x) { return x; }

HRSAM_INLINE V exp(V x) { return ::expf(x); }
HRSAM_INLINE V exp2_fast(V x) { return ::exp2f(x); }
HRSAM_INLINE V exp2_rough(V x) { return ::exp2f(x); }
HRSAM_INLINE V softplus(V x) { return x > 20 ? x : ::log1pf(::expf(x)); }
HRSAM_INLINE V normal_cdf(V x) { return 0.5f * ::erfcf(-0.70710678f * x); }

}  // namespace hrsam::cpu::HRSAM_ISA

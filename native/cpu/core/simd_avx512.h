// Vector primitives on AVX-512 (F, BW, VL, DQ), with native bf16 rounding where the processor has
// it.
#pragma once

// gcc 12 takes the deliberately undefined operands in its own header for a mistake.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "bf16.h"

namespace hrsam::cpu::HRSAM_ISA {

using V = __m512;
constexpr int kWidth = 16;

HRSAM_INLINE __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1); }

HRSAM_INLINE V zero() { return _mm512_setzero_ps(); }
HRSAM_INLINE V set1(float x) { return _mm512_set1_ps(x); }
HRSAM_INLINE V load(const float* p) { return _mm512_loadu_ps(p); }
HRSAM_INLINE V load_n(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
HRSAM_INLINE void store(float* p, V x) { _mm512_storeu_ps(p, x); }
HRSAM_INLINE void store_n(float* p, V x, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), x); }

HRSAM_INLINE V widen(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
HRSAM_INLINE __m256i narrow(V x) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));  // flushes denormals
#else
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
#endif
}
HRSAM_INLINE V load(const bf16* p) {
  return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
HRSAM_INLINE V load_n(const bf16* p, int n) {
  return widen(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
HRSAM_INLINE void store(bf16* p, V x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(x));
}
HRSAM_INLINE void store_n(bf16* p, V x, int n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), narrow(x));
}

HRSAM_INLINE V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
HRSAM_INLINE V fnma(V a, V b, V c) { return _mm512_fnmadd_ps(a, b, c); }
HRSAM_INLINE V min(V a, V b) { return _mm512_min_ps(a, b); }
HRSAM_INLINE V max(V a, V b) { return _mm512_max_ps(a, b); }
HRSAM_INLINE V abs(V x) { return _mm512_abs_ps(x); }
HRSAM_INLINE V sqrt(V x) { return _mm512_sqrt_ps(x); }
HRSAM_INLINE V round(V x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// x·2^floor(n), for any n; and x − floor(x).
#define HRSAM_SCALES_ANY
HRSAM_INLINE V scale2(V x, V n) { return _mm512_scalef_ps(x, n); }
HRSAM_INLINE V fraction(V x) {
  return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
HRSAM_INLINE V select_greater(V a, V b, V yes, V no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), no, yes);
}
HRSAM_INLINE bool any_greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
HRSAM_INLINE float reduce_add(V x) { return _mm512_reduce_add_ps(x); }
HRSAM_INLINE float reduce_max(V x) { return _mm512_reduce_max_ps(x); }

}  // namespace hrsam::cpu::HRSAM_ISA

// Vector primitives on AVX2 with FMA.
#pragma once

#include <immintrin.h>

#include "bf16.h"

namespace hrsam::cpu::HRSAM_ISA {

using V = __m256;
constexpr int kWidth = 8;

HRSAM_INLINE __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

HRSAM_INLINE V zero() { return _mm256_setzero_ps(); }
HRSAM_INLINE V set1(float x) { return _mm256_set1_ps(x); }
HRSAM_INLINE V load(const float* p) { return _mm256_loadu_ps(p); }
HRSAM_INLINE V load_n(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes(n)); }
HRSAM_INLINE void store(float* p, V x) { _mm256_storeu_ps(p, x); }
HRSAM_INLINE void store_n(float* p, V x, int n) { _mm256_maskstore_ps(p, first_lanes(n), x); }

HRSAM_INLINE V load(const bf16* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
HRSAM_INLINE __m128i narrow(V x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}
HRSAM_INLINE void store(bf16* p, V x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(x));
}
HRSAM_INLINE V load_n(const bf16* p, int n) {
  alignas(16) bf16 lanes[kWidth] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
HRSAM_INLINE void store_n(bf16* p, V x, int n) {
  alignas(16) bf16 lanes[kWidth];
  store(lanes, x);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

HRSAM_INLINE V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
HRSAM_INLINE V fnma(V a, V b, V c) { return _mm256_fnmadd_ps(a, b, c); }
HRSAM_INLINE V min(V a, V b) { return _mm256_min_ps(a, b); }
HRSAM_INLINE V max(V a, V b) { return _mm256_max_ps(a, b); }
HRSAM_INLINE V abs(V x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
HRSAM_INLINE V sqrt(V x) { return _mm256_sqrt_ps(x); }
HRSAM_INLINE V round(V x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// In two halves, so that denormal results and n up to 254 come out right.
HRSAM_INLINE V scale2(V x, V n) {
  const __m256i all = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(all, 1);
  const __m256i rest = _mm256_sub_epi32(all, half);
  const __m256i bias = _mm256_set1_epi32(127);
  const V a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const V b = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return x * a * b;
}
HRSAM_INLINE V select_greater(V a, V b, V yes, V no) {
  return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
HRSAM_INLINE bool any_greater(V a, V b) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
}
HRSAM_INLINE float reduce_add(V x) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
HRSAM_INLINE float reduce_max(V x) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

}  // namespace hrsam::cpu::HRSAM_ISA

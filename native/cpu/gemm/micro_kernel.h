// The innermost loop: R rows of A times a panel of N vectors' width of W's rows, all sums in
// registers. Written once on the vector wrapper; what differs is the tile.
#pragma once

#include "simd.h"

namespace hrsam::cpu::HRSAM_ISA {

// As many sums as leave registers for a vector of each of W's columns and the broadcast.
#if defined(HRSAM_ISA_avx512bf16) || defined(HRSAM_ISA_avx512)
constexpr int kRows = 8, kVectors = 3;  // 24 sums in 32 registers
#elif defined(HRSAM_ISA_avx2)
constexpr int kRows = 6, kVectors = 2;  // 12 in 16
#elif defined(HRSAM_ISA_neon)
constexpr int kRows = 6, kVectors = 3;  // 18 in 32: gcc loads several broadcasts ahead
#else
constexpr int kRows = 4, kVectors = 4;
#endif

// How an element type is multiplied: kStep neighbours along k at a time. Packed weights hold kStep
// values in every lane.
template <class T>
struct Multiply;

template <>
struct Multiply<float> {
  static constexpr int kStep = 1;
  HRSAM_INLINE V broadcast(const float* a) { return set1(*a); }
  HRSAM_INLINE V broadcast_last(const float* a) { return set1(*a); }
  HRSAM_INLINE V add(V sum, V a, V b) { return fma(a, b, sum); }
};

#if defined(HRSAM_ISA_avx512bf16)
template <>
struct Multiply<bf16> {
  static constexpr int kStep = 2;
  HRSAM_INLINE V broadcast(const bf16* a) {
    uint32_t pair;
    memcpy(&pair, a, 4);
    return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(pair)));
  }
  HRSAM_INLINE V broadcast_last(const bf16* a) {  // an odd k's last: its neighbour is zero
    return _mm512_castsi512_ps(_mm512_set1_epi32(*a));
  }
  HRSAM_INLINE V add(V sum, V a, V b) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  // Two vectors rounded to bf16: one after the other, or in pairs (first in the lower half).
  HRSAM_INLINE V join(V first, V second) {
    return reinterpret_cast<V>(_mm512_cvtne2ps_pbh(second, first));
  }
  HRSAM_INLINE V interleave(V first, V second) {
    alignas(64) static constexpr uint16_t kPairs[] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kPairs),
                                                        _mm512_castps_si512(join(first, second))));
  }
};
using Half = bf16;  // what a bf16 A is multiplied as
#else
using Half = float;
#endif

template <int R, int N>
struct Sums {
  V v[R][N];
};

// One step of k.
template <class T, int R, int N, class Broadcast>
HRSAM_INLINE void multiply_step(Sums<R, N>& sums, const float* b, Broadcast&& broadcast) {
  V w[N];
#pragma GCC unroll 8
  for (int j = 0; j < N; ++j) w[j] = load(b + j * kWidth);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const V a = broadcast(i);
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) sums.v[i][j] = Multiply<T>::add(sums.v[i][j], a, w[j]);
  }
}

// tile (R, N·kWidth) = or += a (R rows, lda apart, depth long) · panel.
template <class T, int R, int N>
void micro_kernel(const T* a, int64_t lda, const float* b, int64_t depth, float* tile,
                  bool accumulate) {
  using M = Multiply<T>;
  Sums<R, N> sums;
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j) sums.v[i][j] = zero();
  const T* rows[R];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) rows[i] = a + i * lda;
  int64_t k = 0;
  for (; k + M::kStep <= depth; k += M::kStep, b += N * kWidth)
    multiply_step<T>(sums, b, [&](int i) { return M::broadcast(rows[i] + k); });
  if (k < depth) multiply_step<T>(sums, b, [&](int i) { return M::broadcast_last(rows[i] + k); });
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < N; ++j, tile += kWidth)
      store(tile, accumulate ? sums.v[i][j] + load(tile) : sums.v[i][j]);
}

template <class T>
using Kernel = void (*)(const T*, int64_t, const float*, int64_t, float*, bool);

// For a tile of up to kRows rows and kVectors vectors.
template <class T, int R = kRows, int N = kVectors>
HRSAM_INLINE Kernel<T> kernel_for(int64_t rows, int64_t vectors) {
  if constexpr (R > 1)
    if (rows < R) return kernel_for<T, R - 1, N>(rows, vectors);
  if constexpr (N > 1)
    if (vectors < N) return kernel_for<T, R, N - 1>(rows, vectors);
  return micro_kernel<T, R, N>;
}

}  // namespace hrsam::cpu::HRSAM_ISA

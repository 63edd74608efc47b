// The innermost loop: R rows of A times a panel of N vectors' width of W's rows, all sums in
// registers. Written once on the vector wrapper; what differs is the tile.
#pragma once

#include <string.h>

#include "tiles.h"

namespace hrsam::cpu::HRSAM_ISA {

// As many sums as leave registers for a vector of each of W's columns and the broadcast.
#if defined(HRSAM_ISA_avx512bf16) || defined(HRSAM_ISA_avx512)
constexpr int kMicroRows = 8, kMicroVectors = 3;  // 24 sums in 32 registers
#elif defined(HRSAM_ISA_avx2)
constexpr int kMicroRows = 6, kMicroVectors = 2;  // 12 in 16
#elif defined(HRSAM_ISA_neon)
constexpr int kMicroRows = 6, kMicroVectors = 3;  // 18 in 32: gcc loads several broadcasts ahead
#else
constexpr int kMicroRows = 4, kMicroVectors = 4;
#endif

// The tile of a type: rows of A, vectors of W's rows, and how many values of k are packed together.
template <class T>
struct Tile {
  static constexpr int kRows = kMicroRows, kVectors = kMicroVectors;
  static constexpr int kDepth = static_cast<int>(sizeof(float) / sizeof(T));
};
#if defined(HRSAM_ISA_amx)
template <>
struct Tile<bf16> {
  static constexpr int kRows = 2 * kTileRows, kVectors = 2;
  static constexpr int kDepth = kTileDepth;
};
template <>
struct Tile<Split> : Tile<bf16> {};
#endif

// Matrix tiles take rows of A as they are loaded (below), vectors where they are.
template <class T>
constexpr bool kMatrixTiles = Tile<T>::kRows > kMicroRows;

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

#if defined(HRSAM_ISA_amx)
template <>
struct Multiply<Split> : Multiply<bf16> {};
using Full = Split;  // what an f32 A is multiplied as
#else
using Full = float;
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

template <class T, int R = kMicroRows, int N = kMicroVectors>
HRSAM_INLINE Kernel<T> kernel_for(int64_t rows, int64_t vectors) {
  if constexpr (R > 1)
    if (rows < R) return kernel_for<T, R - 1, N>(rows, vectors);
  if constexpr (N > 1)
    if (vectors < N) return kernel_for<T, R, N - 1>(rows, vectors);
  return micro_kernel<T, R, N>;
}

// What is done beside a matrix tile's steps, which leave the vector units free: a piece in each,
// all of it before the sums are stored.
struct Nothing {
  void step() {}
  void rest() {}
};

#if defined(HRSAM_ISA_amx)

// What the tiles multiply lies as they load it: for every step 32 rows of 32 numbers of the left
// matrix, one after the other, and 16 rows of pairs of 16 or 32 columns of the right one; of split
// numbers all high parts of a step first. kTall: more than 16 rows, kWide: more than 16 columns.
constexpr int64_t kLeftStep = 2 * kTileRows * kTileDepth;
template <bool kWide>
constexpr int64_t kTileStride = (kWide ? 2 : 1) * kWidth;  // of the right matrix and of the sums
template <bool kWide>
constexpr int64_t kRightStep = kTileDepth / 2 * kTileStride<kWide>;

template <bool kTall>
HRSAM_INLINE void load_left(const bf16* a) {
  _tile_loadd(4, a, 64);
  if constexpr (kTall) _tile_loadd(5, a + kTileRows * kTileDepth, 64);
}

template <bool kWide>
HRSAM_INLINE void load_right(const float* b) {
  _tile_loadd(6, b, kTileStride<kWide> * 4);
  if constexpr (kWide) _tile_loadd(7, b + kWidth, kTileStride<kWide> * 4);
}

template <bool kTall, bool kWide>
HRSAM_INLINE void multiply_loaded() {
  _tile_dpbf16ps(0, 4, 6);
  if constexpr (kWide) _tile_dpbf16ps(1, 4, 7);
  if constexpr (kTall) _tile_dpbf16ps(2, 5, 6);
  if constexpr (kTall && kWide) _tile_dpbf16ps(3, 5, 7);
}

template <bool kTall, bool kWide>
HRSAM_INLINE void tiles_step(const bf16* a, const float* b) {
  load_left<kTall>(a);
  load_right<kWide>(b);
  multiply_loaded<kTall, kWide>();
}

template <bool kTall, bool kWide>
HRSAM_INLINE void zero_tiles() {
  _tile_zero(0);
  if constexpr (kWide) _tile_zero(1);
  if constexpr (kTall) _tile_zero(2);
  if constexpr (kTall && kWide) _tile_zero(3);
}

template <bool kTall, bool kWide>
HRSAM_INLINE void store_tiles(float* tile) {
  constexpr int64_t kStride = kTileStride<kWide>, kBytes = kStride * 4;
  _tile_stored(0, tile, kBytes);
  if constexpr (kWide) _tile_stored(1, tile + kWidth, kBytes);
  if constexpr (kTall) _tile_stored(2, tile + kTileRows * kStride, kBytes);
  if constexpr (kTall && kWide) _tile_stored(3, tile + kTileRows * kStride + kWidth, kBytes);
}

template <bool kTall, bool kWide, class Beside>
void tiles_kernel(const bf16* a, const float* b, int64_t depth, float* tile, bool accumulate,
                  Beside& beside) {
  constexpr int64_t kStride = kTileStride<kWide>, kBytes = kStride * 4;
  before_tile_loads();
  if (accumulate) {
    _tile_loadd(0, tile, kBytes);
    if constexpr (kWide) _tile_loadd(1, tile + kWidth, kBytes);
    if constexpr (kTall) _tile_loadd(2, tile + kTileRows * kStride, kBytes);
    if constexpr (kTall && kWide) _tile_loadd(3, tile + kTileRows * kStride + kWidth, kBytes);
  } else {
    zero_tiles<kTall, kWide>();
  }
  for (int64_t k = 0; k < depth; k += kTileDepth) {
    tiles_step<kTall, kWide>(a, b);
    a += kLeftStep;
    b += kRightStep<kWide>;
    beside.step();
  }
  beside.rest();
  store_tiles<kTall, kWide>(tile);
}

// The five small products of all steps come before the large one: added to sums that are still
// small they are rounded finely.
template <bool kTall, bool kWide, class Beside>
void split_kernel(const Split* split, const float* b, int64_t depth, float* tile, bool accumulate,
                  Beside& beside) {
  constexpr int64_t kLeft = kLeftStep, kRight = kRightStep<kWide>;
  const bf16* a = reinterpret_cast<const bf16*>(split);
  before_tile_loads();
  zero_tiles<kTall, kWide>();
  const bf16* left = a;
  const float* right = b;
  for (int64_t k = 0; k < depth; k += kTileDepth, left += 3 * kLeft, right += 3 * kRight) {
    load_left<kTall>(left);
    load_right<kWide>(right + 2 * kRight);
    multiply_loaded<kTall, kWide>();  // high · low
    load_right<kWide>(right + kRight);
    multiply_loaded<kTall, kWide>();  // high · middle
    load_left<kTall>(left + kLeft);
    multiply_loaded<kTall, kWide>();  // middle · middle
    load_right<kWide>(right);
    multiply_loaded<kTall, kWide>();  // middle · high
    load_left<kTall>(left + 2 * kLeft);
    multiply_loaded<kTall, kWide>();  // low · high
    beside.step();
  }
  beside.rest();
  for (int64_t k = 0; k < depth; k += kTileDepth, a += 3 * kLeft, b += 3 * kRight)
    tiles_step<kTall, kWide>(a, b);
  if (!accumulate) return store_tiles<kTall, kWide>(tile);
  constexpr int64_t kSums = (kTall ? 2 : 1) * kTileRows * kTileStride<kWide>;
  alignas(64) float sums[kSums];
  store_tiles<kTall, kWide>(sums);
  asm volatile("" ::"r"(sums) : "memory");  // gcc does not know that they were written
  for (int64_t i = 0; i < kSums; i += kWidth) store(tile + i, load(tile + i) + load(sums + i));
}

template <bool kTall, bool kWide, class Beside>
HRSAM_INLINE void run_tiles(const bf16* a, const float* b, int64_t depth, float* tile,
                            bool accumulate, Beside& beside) {
  tiles_kernel<kTall, kWide>(a, b, depth, tile, accumulate, beside);
}
template <bool kTall, bool kWide, class Beside>
HRSAM_INLINE void run_tiles(const Split* a, const float* b, int64_t depth, float* tile,
                            bool accumulate, Beside& beside) {
  split_kernel<kTall, kWide>(a, b, depth, tile, accumulate, beside);
}

#endif

// tile (rows, vectors·kWidth) = or += a · panel, for up to Tile<T>::kRows rows and
// Tile<T>::kVectors vectors.
template <class T, class Beside>
inline void multiply_tile(int64_t rows, int64_t vectors, const T* a, int64_t lda,
                          const float* panel, int64_t depth, float* tile, bool accumulate,
                          Beside& beside) {
#if defined(HRSAM_ISA_amx)
  if constexpr (kMatrixTiles<T>) {
    const bool tall = rows > kTileRows, wide = vectors > 1;
    if (tall && wide) return run_tiles<true, true>(a, panel, depth, tile, accumulate, beside);
    if (tall) return run_tiles<true, false>(a, panel, depth, tile, accumulate, beside);
    if (wide) return run_tiles<false, true>(a, panel, depth, tile, accumulate, beside);
    return run_tiles<false, false>(a, panel, depth, tile, accumulate, beside);
  }
#endif
  if constexpr (!kMatrixTiles<T>)
    kernel_for<T>(rows, vectors)(a, lda, panel, depth, tile, accumulate);
}
template <class T>
inline void multiply_tile(int64_t rows, int64_t vectors, const T* a, int64_t lda,
                          const float* panel, int64_t depth, float* tile, bool accumulate) {
  Nothing nothing;
  multiply_tile(rows, vectors, a, lda, panel, depth, tile, accumulate, nothing);
}

}  // namespace hrsam::cpu::HRSAM_ISA

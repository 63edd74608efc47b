// The product of attention's blocks, of logits = Q·Kᵀ as of P·V: kVectorRows rows of the left
// matrix are broadcast number by number against kVectors vectors of the right one, whose sums stay
// in registers (6 x 4 vectors leave 8 of AVX-512's 32 registers for operands: 24 multiply-adds for
// 10 loads a step, so the multiply-add units are the bound). Keys are packed transposed, in panels
// of kVectors vectors (a panel of 64 keys x 64 channels is 16 KB and stays in the L1 cache while
// kGroup queries pass); values stay row by row. With native bf16 dot products, right-hand sides are
// interleaved in pairs along the summed axis and probabilities are rounded to bf16; sums and
// softmax are f32. With matrix tiles (tiles.h) a step of bf16 takes 16 rows and 32 numbers of the
// summed axis, which is filled up with zeros.
#pragma once

#include "tiles.h"

namespace hrsam::cpu::HRSAM_ISA {

#if defined(HRSAM_ISA_avx2) || defined(HRSAM_ISA_scalar)
constexpr int kVectors = 2;  // 16 registers
#else
constexpr int kVectors = 4;
#endif
constexpr int kVectorRows = 6;
constexpr int kPanel = kVectors * kWidth;

// The type in which products are computed: E is float, or bf16 where the processor multiplies it.
#if defined(HRSAM_ISA_avx512bf16)
template <class T>
struct ComputeType {
  using E = T;
};
#else
template <class T>
struct ComputeType {
  using E = float;
};
#endif

constexpr int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }

// Of a product of type E: rows at a time, and numbers of the summed axis.
#if defined(HRSAM_ISA_amx)
template <class E>
constexpr int kRows = sizeof(E) == 2 ? kTileRows : kVectorRows;
template <class E>
constexpr int kDepth = sizeof(E) == 2 ? kTileDepth : 1;
#else
template <class E>
constexpr int kRows = kVectorRows;
template <class E>
constexpr int kDepth = sizeof(E) == 2 ? 2 : 1;
#endif
// Whole vectors and whole steps of the summed axis.
template <class E>
constexpr int kUnit = kDepth<E> > kWidth ? kDepth<E> : kWidth;

template <class E>
constexpr int depth_of(int n) {
  return round_up(n, kDepth<E>);
}

// c[kVectorRows][kCount vectors] = a · b, or c · scale[row] + a · b. b's rows are ldb numbers
// apart.
template <int kCount>
void multiply_tile(const float* a, int lda, const float* b, int ldb, int depth, float* c, int ldc,
                   const float* scale) {
  V sum[kVectorRows][kCount];
  for (auto& row : sum)
    for (V& x : row) x = zero();
  for (int k = 0; k < depth; ++k, b += ldb) {
    V right[kCount];
    for (int v = 0; v < kCount; ++v) right[v] = load(b + v * kWidth);
    for (int r = 0; r < kVectorRows; ++r) {
      const V left = set1(a[r * lda + k]);
      for (int v = 0; v < kCount; ++v) sum[r][v] = fma(left, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < kVectorRows; ++r)
    for (int v = 0; v < kCount; ++v) {
      float* at = c + r * ldc + v * kWidth;
      store(at, scale == nullptr ? sum[r][v] : fma(load(at), set1(scale[r]), sum[r][v]));
    }
}

#if defined(HRSAM_ISA_amx)

// Adds a · b to the tiles 0 … kCount − 1, the rows of a lda apart.
template <int kCount>
HRSAM_INLINE void add_to_tiles(const bf16* a, int lda, const bf16* b, int ldb, int depth) {
  const int row_bytes = 4 * ldb;
  for (int k = 0; k < depth; k += kTileDepth, a += kTileDepth, b += kTileDepth * ldb) {
    _tile_loadd(4, a, 2 * lda);
    _tile_loadd(6, b, row_bytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kCount > 1) {
      _tile_loadd(7, b + 2 * kWidth, row_bytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kCount > 2) {
      _tile_loadd(6, b + 4 * kWidth, row_bytes);
      _tile_dpbf16ps(2, 4, 6);
    }
    if constexpr (kCount > 3) {
      _tile_loadd(7, b + 6 * kWidth, row_bytes);
      _tile_dpbf16ps(3, 4, 7);
    }
  }
}
template <int kCount>
HRSAM_INLINE void clear_tiles() {
  _tile_zero(0);
  if constexpr (kCount > 1) _tile_zero(1);
  if constexpr (kCount > 2) _tile_zero(2);
  if constexpr (kCount > 3) _tile_zero(3);
}
template <int kCount>
HRSAM_INLINE void load_tiles(const float* c, int ldc) {
  _tile_loadd(0, c, 4 * ldc);
  if constexpr (kCount > 1) _tile_loadd(1, c + kWidth, 4 * ldc);
  if constexpr (kCount > 2) _tile_loadd(2, c + 2 * kWidth, 4 * ldc);
  if constexpr (kCount > 3) _tile_loadd(3, c + 3 * kWidth, 4 * ldc);
}
template <int kCount>
HRSAM_INLINE void store_tiles(float* c, int ldc) {
  _tile_stored(0, c, 4 * ldc);
  if constexpr (kCount > 1) _tile_stored(1, c + kWidth, 4 * ldc);
  if constexpr (kCount > 2) _tile_stored(2, c + 2 * kWidth, 4 * ldc);
  if constexpr (kCount > 3) _tile_stored(3, c + 3 * kWidth, 4 * ldc);
}

template <int kCount>
void multiply_tile(const bf16* a, int lda, const bf16* b, int ldb, int depth, float* c, int ldc,
                   const float* scale) {
  if (scale == nullptr) {
    clear_tiles<kCount>();
  } else {
    for (int r = 0; r < kTileRows; ++r)
      for (int v = 0; v < kCount; ++v) {
        float* at = c + r * ldc + v * kWidth;
        store(at, load(at) * set1(scale[r]));
      }
  }
  before_tile_loads();
  if (scale != nullptr) load_tiles<kCount>(c, ldc);
  add_to_tiles<kCount>(a, lda, b, ldb, depth);
  store_tiles<kCount>(c, ldc);
}

#elif defined(HRSAM_ISA_avx512bf16)
template <int kCount>
void multiply_tile(const bf16* a, int lda, const bf16* b, int ldb, int depth, float* c, int ldc,
                   const float* scale) {
  V sum[kVectorRows][kCount];
  for (auto& row : sum)
    for (V& x : row) x = zero();
  for (int k = 0; k < depth; k += 2, b += 2 * ldb) {
    __m512bh right[kCount];
    for (int v = 0; v < kCount; ++v)
      right[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + 2 * v * kWidth));
    for (int r = 0; r < kVectorRows; ++r) {
      int pair;
      memcpy(&pair, a + r * lda + k, 4);
      const __m512bh left = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
      for (int v = 0; v < kCount; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], left, right[v]);
    }
  }
  for (int r = 0; r < kVectorRows; ++r)
    for (int v = 0; v < kCount; ++v) {
      float* at = c + r * ldc + v * kWidth;
      store(at, scale == nullptr ? sum[r][v] : fma(load(at), set1(scale[r]), sum[r][v]));
    }
}
#endif

// multiply_tile for a number of vectors known at run time, at most kVectors.
template <class E>
HRSAM_INLINE void multiply(int vectors, const E* a, int lda, const E* b, int ldb, int depth,
                           float* c, int ldc, const float* scale) {
  switch (vectors) {
    case 1:
      return multiply_tile<1>(a, lda, b, ldb, depth, c, ldc, scale);
    case 2:
      return multiply_tile<2>(a, lda, b, ldb, depth, c, ldc, scale);
#if !defined(HRSAM_ISA_avx2) && !defined(HRSAM_ISA_scalar)
    case 3:
      return multiply_tile<3>(a, lda, b, ldb, depth, c, ldc, scale);
    default:
      return multiply_tile<4>(a, lda, b, ldb, depth, c, ldc, scale);
#endif
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA

// A task's rows of A as the micro-kernel reads them.
#pragma once

#include "steps.h"
#include "tiling.h"
#include "transpose.h"

namespace hrsam::cpu::HRSAM_ISA {

// Each `stride` values after the one before; of matrix tiles, a tile's rows are one of these times
// as many.
template <class T>
struct Rows {
  const T* begin;
  int64_t stride;
};

// Whether rows of A are copied, dense, though they could be read: for bf16 without its
// instructions, which is widened, and where their beginnings fall into one set of the first-level
// cache, in which few of them have room.
template <class T>
bool copies_rows(DType type, int64_t k) {
  constexpr int64_t kSetBytes = 4096;
  return sizeof(T) == sizeof(float) && (type == DType::bf16 || k * 4 % kSetBytes == 0);
}

// Whether numbers stored as From are multiplied as T.
template <class From, class T>
constexpr bool kPrepares = sizeof(T) == sizeof(From) || sizeof(T) == sizeof(float) ||
                           (sizeof(T) > sizeof(float) && sizeof(From) == sizeof(float));

#if defined(HRSAM_ISA_amx)
// Matrix tiles take rows of A that lie a step after the other (micro_kernel.h). Loading them where
// A's rows are is as fast, but a last step must not read past them.
inline void pack_rows(const bf16* from, int64_t lda, int64_t rows, int64_t depth, bf16* to) {
  constexpr int64_t kGroup = 2 * kTileRows;
  const int64_t padded = divide_up(depth, kTileDepth) * kTileDepth;
  for (int64_t row = 0; row < divide_up(rows, kGroup) * kGroup; ++row, from += lda) {
    bf16* at = to + row / kGroup * kGroup * padded + row % kGroup * kTileDepth;
    for (int64_t k = 0; k < padded; k += kTileDepth, at += kGroup * kTileDepth) {
      const int64_t count = row < rows ? smaller(kTileDepth, depth - k) : 0;
      const auto lanes = static_cast<__mmask32>((uint64_t{1} << count) - 1);
      _mm512_store_si512(at, _mm512_maskz_loadu_epi16(lanes, from + k));
    }
  }
}

// Cut off instead of rounded, parts hold all the bits as well, and a fraction of the operations is
// enough. The upper halves of two vectors' lanes, one after the other:
HRSAM_INLINE __m512i upper_halves(V first, V second) {
  alignas(64) static constexpr uint16_t kUpper[] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                    23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                    45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  return _mm512_permutex2var_epi16(_mm512_castps_si512(first), _mm512_load_si512(kUpper),
                                   _mm512_castps_si512(second));
}
HRSAM_INLINE V below_upper_half(V x) {
  return x - _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x),
                                                  _mm512_set1_epi32(static_cast<int>(0xffff0000))));
}

inline void pack_rows(const float* from, int64_t lda, int64_t rows, int64_t depth, Split* to) {
  constexpr int64_t kGroup = 2 * kTileRows;
  const int64_t padded = divide_up(depth, kTileDepth) * kTileDepth;
  for (int64_t row = 0; row < divide_up(rows, kGroup) * kGroup; ++row, from += lda) {
    bf16* at = to[row / kGroup * kGroup * padded].parts + row % kGroup * kTileDepth;
    for (int64_t k = 0; k < padded; k += kTileDepth, at += 3 * kLeftStep) {
      const int64_t left = row < rows ? larger(0, depth - k) : 0;
      V first = load_n(from + k, static_cast<int>(smaller(left, kWidth)));
      V second = left > kWidth
                     ? load_n(from + k + kWidth, static_cast<int>(smaller(left - kWidth, kWidth)))
                     : zero();
      for (int part = 0; part < 3; ++part) {
        _mm512_store_si512(at + part * kLeftStep, upper_halves(first, second));
        first = below_upper_half(first);
        second = below_upper_half(second);
      }
    }
  }
}
#else
template <class From, class T>
void pack_rows(const From* from, int64_t lda, int64_t rows, int64_t depth, T* to) {
  for (int64_t row = 0; row < rows; ++row, from += lda, to += depth)
    map_vectors(
        to, depth, [](V x) { return x; }, from);
}
#endif

// Where a row of what is prepared begins, and where its part of split numbers k values on is.
template <class T>
HRSAM_INLINE float* place(T* to, int64_t stride, int64_t row, int64_t k, int part) {
#if defined(HRSAM_ISA_amx)
  if constexpr (kMatrixTiles<T>) {
    constexpr int64_t kGroup = 2 * kTileRows;
    bf16* group = reinterpret_cast<bf16*>(to + row / kGroup * kGroup * stride);
    const int64_t step = k / kTileDepth * packing_parts<T>() + part;
    return reinterpret_cast<float*>(group + step * kLeftStep + row % kGroup * kTileDepth);
  }
#endif
  return reinterpret_cast<float*>(to + row * stride + k);
}

// A turned chunk's values of k: whole vectors of them.
template <class T>
HRSAM_INLINE int64_t turned_depth(int64_t depth) {
  constexpr int64_t kBlock = kWidth * Multiply<T>::kStep;
  return divide_up(depth, kBlock) * kBlock;
}

template <class T>
HRSAM_INLINE int64_t prepared_stride(int64_t depth, bool turned) {
  if (turned) return turned_depth<T>(depth);
  return kMatrixTiles<T> ? divide_up(depth, Tile<T>::kDepth) * Tile<T>::kDepth : depth;
}

// Prepares a chunk of rows that lie turned: value k of row i at from[k * lda + i].
template <class T, class From>
void turn_rows(const From* from, int64_t lda, int64_t rows, int64_t depth, T* to) {
  constexpr int64_t kStep = Multiply<T>::kStep;
  constexpr int64_t kGroup = kMatrixTiles<T> ? Tile<T>::kRows : 1;
  const int64_t stride = turned_depth<T>(depth), padded = divide_up(rows, kGroup) * kGroup;
  for (int64_t k = 0; k < stride; k += kWidth * kStep)
    for (int64_t row = 0; row < padded; row += kWidth)
      for (int part = 0; part < packing_parts<T>(); ++part) {
        const int n = static_cast<int>(smaller(kWidth, rows - row));
        V block[kWidth];
        for (int64_t i = 0; i < kWidth; ++i)
          block[i] = n > 0 ? load_step<T>(from + (k + i * kStep) * lda + row, lda,
                                          depth - k - i * kStep, n, part)
                           : zero();
        transpose(block);
        for (int64_t i = 0; i < smaller(kWidth, padded - row); ++i)
          store(place(to, stride, row + i, k, part), block[i]);
      }
}

}  // namespace hrsam::cpu::HRSAM_ISA

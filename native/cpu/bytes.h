// 16 × 16 transposes of bytes, on the compiler's vectors: interleaving two of 16 bytes is one
// instruction on every processor that has them.
#pragma once

#include <string.h>

#include "op.h"

namespace hrsam::cpu::HRSAM_ISA {

constexpr int64_t kLanes = 16;
typedef uint8_t Bytes __attribute__((vector_size(16)));

// Four rounds of pairing vector i with i + 8 turn rows into columns.
inline void transpose16(Bytes (&v)[kLanes]) {
  for (int round = 0; round < 4; ++round) {
    Bytes next[kLanes];
    for (int i = 0; i < 8; ++i) {
      next[2 * i] = __builtin_shuffle(
          v[i], v[i + 8], Bytes{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
      next[2 * i + 1] = __builtin_shuffle(
          v[i], v[i + 8], Bytes{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
    }
    for (int i = 0; i < kLanes; ++i) v[i] = next[i];
  }
}

// rows (at most 16) × n bytes, `stride` bytes apart, to n vectors of 16 bytes (lanes beyond `rows`
// hold zeros). Room for a multiple of 16 vectors.
inline void transpose(const uint8_t* from, int64_t stride, int64_t rows, int64_t n, uint8_t* to) {
  for (int64_t x = 0; x < n; x += kLanes) {
    const size_t bytes = static_cast<size_t>(n - x < kLanes ? n - x : kLanes);
    Bytes block[kLanes] = {};
    for (int64_t row = 0; row < rows; ++row) {
      if (bytes == kLanes)
        memcpy(&block[row], from + row * stride + x, kLanes);
      else
        memcpy(&block[row], from + row * stride + x, bytes);
    }
    transpose16(block);
    memcpy(to + x * kLanes, block, sizeof(block));
  }
}

// n vectors of 16 bytes back to rows × n bytes. Reads a multiple of 16 vectors, writes a multiple
// of 16 bytes to each row, so `to` is filled from left to right and has room at its end.
inline void transpose_back(const uint8_t* from, int64_t n, int64_t rows, uint8_t* to,
                           int64_t stride) {
  for (int64_t x = 0; x < n; x += kLanes) {
    Bytes block[kLanes];
    memcpy(block, from + x * kLanes, sizeof(block));
    transpose16(block);
    for (int64_t row = 0; row < rows; ++row) memcpy(to + row * stride + x, &block[row], kLanes);
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA

// Rows of bytes to columns, 16 rows at a time, and back.
#pragma once

#include <string.h>

#include "squares.h"

namespace hrsam::cpu::HRSAM_ISA {

constexpr int64_t kLanes = 16;

// rows (at most 16) × n bytes, `stride` bytes apart, to n vectors of 16 bytes (lanes beyond `rows`
// hold zeros). Room for a multiple of 16 vectors.
inline void transpose(const uint8_t* from, int64_t stride, int64_t rows, int64_t n, uint8_t* to) {
  for (int64_t x = 0; x < n; x += kLanes) {
    const size_t bytes = static_cast<size_t>(n - x < kLanes ? n - x : kLanes);
    Lanes1 block[kLanes] = {};
    for (int64_t row = 0; row < rows; ++row) {
      if (bytes == kLanes)
        memcpy(&block[row], from + row * stride + x, kLanes);
      else
        memcpy(&block[row], from + row * stride + x, bytes);
    }
    transpose_square(block);
    memcpy(to + x * kLanes, block, sizeof(block));
  }
}

// n vectors of 16 bytes back to rows × n bytes. Reads a multiple of 16 vectors, writes a multiple
// of 16 bytes to each row, so `to` is filled from left to right and has room at its end.
inline void transpose_back(const uint8_t* from, int64_t n, int64_t rows, uint8_t* to,
                           int64_t stride) {
  for (int64_t x = 0; x < n; x += kLanes) {
    Lanes1 block[kLanes];
    memcpy(block, from + x * kLanes, sizeof(block));
    transpose_square(block);
    for (int64_t row = 0; row < rows; ++row) memcpy(to + row * stride + x, &block[row], kLanes);
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA

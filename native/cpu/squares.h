// Squares of numbers transposed in registers of 16 bytes, two of which every instruction set
// interleaves in one instruction.
#pragma once

#include "bf16.h"

namespace hrsam::cpu::HRSAM_ISA {

using Lanes1 [[gnu::vector_size(16)]] = uint8_t;
using Lanes2 [[gnu::vector_size(16)]] = uint16_t;
using Lanes4 [[gnu::vector_size(16)]] = uint32_t;

HRSAM_INLINE void interleave(Lanes4 a, Lanes4 b, Lanes4& low, Lanes4& high) {
  low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
HRSAM_INLINE void interleave(Lanes2 a, Lanes2 b, Lanes2& low, Lanes2& high) {
  low = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  high = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
HRSAM_INLINE void interleave(Lanes1 a, Lanes1 b, Lanes1& low, Lanes1& high) {
  low = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  high =
      __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// Interleaving row r with row r + n/2, for all r and log2(n) times, turns rows into columns.
template <class Lanes, int n>
HRSAM_INLINE void transpose_square(Lanes (&rows)[n]) {
  Lanes next[n];
#pragma GCC unroll 4
  for (int round = 1; round < n; round *= 2) {
#pragma GCC unroll 16
    for (int r = 0; r < n / 2; ++r)
      interleave(rows[r], rows[r + n / 2], next[2 * r], next[2 * r + 1]);
#pragma GCC unroll 16
    for (int r = 0; r < n; ++r) rows[r] = next[r];
  }
}

}  // namespace hrsam::cpu::HRSAM_ISA

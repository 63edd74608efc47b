// Products of bf16 by Intel's matrix tiles (AMX): registers of 16 rows of 64 bytes, one of which a
// step takes 16 rows of 32 numbers of the left matrix, another 32 rows (in pairs, as everywhere) of
// 16 columns of the right one, and a third their f32 sums.
//
//   0 … 3  sums: 16 or 32 rows times one to four times 16 columns
//   4, 5   the left matrix's rows
//   6, 7   the right one's columns
#pragma once

#include "simd.h"

#if defined(HRSAM_ISA_amx)

namespace hrsam::cpu::HRSAM_ISA {

constexpr int kTileRows = 16;
constexpr int kTileDepth = 32;  // numbers of the summed axis

// What was written to memory before is there for tiles to load: gcc does not know that they read.
HRSAM_INLINE void before_tile_loads() { asm volatile("" ::: "memory"); }

// Needed around every use, in the thread that uses them: the registers belong to nobody before and
// cost a switch of threads nothing afterwards.
class Tiles {
 public:
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {kTileRows, kTileRows, kTileRows, kTileRows,
                          kTileRows, kTileRows, kTileRows, kTileRows};
    } shape;
    asm volatile("" ::"r"(&shape) : "memory");  // gcc takes the next line to read 8 bytes of it
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

}  // namespace hrsam::cpu::HRSAM_ISA

#endif

namespace hrsam::cpu::HRSAM_ISA {

#if defined(HRSAM_ISA_amx)
// f32 numbers as tiles multiply them: each the sum of three of bf16, high, middle and low, which
// together hold all of its 24 bits. Of the nine products of two numbers' parts three are below the
// rounding of the sum, and the other six cost less than a half of one by multiply-adds.
struct Split {
  bf16 parts[3];
};
#endif

// What a task that multiplies numbers of type T needs around it.
template <class T>
struct MultiplyScope {
  MultiplyScope() {}  // not trivial: a variable of it counts as used
};
#if defined(HRSAM_ISA_amx)
template <>
struct MultiplyScope<bf16> : Tiles {};
template <>
struct MultiplyScope<Split> : Tiles {};
#endif

}  // namespace hrsam::cpu::HRSAM_ISA

// Axial rotary position embedding, applied while a head's query or key is loaded. The first half of
// the channels turns with the row, the second with the column; neighbouring channels form the pairs
// that turn:
//   out[2j] = x[2j]·cos + x[2j+1]·sin,  out[2j+1] = x[2j+1]·cos − x[2j]·sin,  angle =
//   position·scale·theta^(−2j / half).
#pragma once

#include <cmath>

#include "units.h"

namespace hrsam::cuda {

// Cosine and sine by position and pair of an axis; no rotation where table is null.
struct Rope {
  const float2* table = nullptr;
  int half = 0;  // channels that turn with one axis

  HRSAM_DEVICE float2 turn(const Place& place, int channel) const {
    const bool by_row = channel < half;
    const int position = by_row ? place.row : place.column;
    return table[position * (half / 2) + (by_row ? channel : channel - half) / 2];
  }
  // Of the pairs in channels [channel, channel + 8), channel a multiple of 8, as is half.
  HRSAM_DEVICE void turns(const Place& place, int channel, float2 (&pairs)[4]) const {
    const bool by_row = channel < half;
    const int position = by_row ? place.row : place.column;
    const float4* from = reinterpret_cast<const float4*>(table + position * (half / 2) +
                                                         (by_row ? channel : channel - half) / 2);
    const float4 first = from[0], second = from[1];
    pairs[0] = make_float2(first.x, first.y), pairs[1] = make_float2(first.z, first.w);
    pairs[2] = make_float2(second.x, second.y), pairs[3] = make_float2(second.z, second.w);
  }
  HRSAM_DEVICE static void rotate(float2 t, float& x, float& y) {
    const float first = fmaf(x, t.x, y * t.y);
    y = fmaf(y, t.x, -x * t.y);
    x = first;
  }
  // Channels [channel, channel + 2) of a row, channel even.
  HRSAM_DEVICE void rotate(const Place& place, int channel, float& x, float& y) const {
    if (table != nullptr) rotate(turn(place, channel), x, y);
  }
  // What the rotation does to a gradient: it is orthogonal.
  HRSAM_DEVICE void rotate_back(const Place& place, int channel, float& x, float& y) const {
    if (table == nullptr) return;
    const float2 t = turn(place, channel);
    const float first = fmaf(x, t.x, -y * t.y);
    y = fmaf(y, t.x, x * t.y);
    x = first;
  }
};

// Null where there is no rotation.
inline SharedBlock rope_table(const Compiler& compiler, int positions, int half, double theta,
                              double scale) {
  if (theta == 0) return nullptr;
  const int pairs = half / 2;
  Block block(sizeof(float2) * static_cast<size_t>(positions) * static_cast<size_t>(pairs));
  for (int p = 0; p < positions; ++p)
    for (int j = 0; j < pairs; ++j) {
      const double angle = p * scale * std::pow(theta, -2.0 * j / half);
      block.as<float2>()[p * pairs + j] = {static_cast<float>(std::cos(angle)),
                                           static_cast<float>(std::sin(angle))};
    }
  return compiler.upload(block);
}

inline Rope rope_of(const SharedBlock& table, int half) {
  return {table == nullptr ? nullptr : table->as<float2>(), half};
}

}  // namespace hrsam::cuda

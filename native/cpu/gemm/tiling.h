// How a product is cut: by its shape alone.
#pragma once

#include "micro_kernel.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

// Part i of `total` things cut into `parts` nearly equal ones begins here.
HRSAM_INLINE int64_t cut(int64_t total, int64_t parts, int64_t i) { return total * i / parts; }

// Packed weights: panels of Tile::kVectors vectors or one less, so that no n is rounded up by more
// than a vector; in each, chunks of k; in each, for every step of k, one lane per row of W. Steps
// come Tile::kDepth values at a time, the last ones filled up with zeros.
struct Packing {
  int64_t step;    // values of k in a lane
  int64_t unit;    // values of k, whole steps, that are packed together
  int64_t parts;   // of split numbers, a unit of each after the other
  int64_t chunks;  // of k
  int64_t depth;   // of a chunk but the last, a multiple of unit
  int64_t vectors;
  int64_t panels;
};

template <class T>
constexpr int packing_parts() {
  return static_cast<int>(sizeof(T)) * Multiply<T>::kStep / 4;
}

template <class T>
HRSAM_INLINE Packing packing_of(int64_t n, int64_t k) {
  // A panel's chunk, 36 KB at most, of matrix tiles 16, and the rows of A stay in a first-level
  // cache of 48 KB. Short chunks also keep sums accurate: in one chain of k additions the rounding
  // errors of a decoder's f32 logits were twice those of chains of 256.
  constexpr int64_t kTileBytes = packing_parts<T>() > 1 ? 384 : 512;
  constexpr int64_t kChunkBytes = kMatrixTiles<T>               ? kTileBytes
                                  : kMicroVectors * kWidth > 32 ? 768
                                                                : 1024;
  Packing p;
  p.step = Multiply<T>::kStep;
  p.chunks = divide_up(k * static_cast<int64_t>(sizeof(T)), kChunkBytes);
  p.unit = Tile<T>::kDepth;
  p.parts = packing_parts<T>();
  p.depth = divide_up(divide_up(k, p.chunks), p.unit) * p.unit;
  p.chunks = divide_up(k, p.depth);
  p.vectors = divide_up(n, kWidth);
  p.panels = divide_up(p.vectors, Tile<T>::kVectors);
  return p;
}

// Floats before a panel's chunk; panel = panels: the end.
HRSAM_INLINE int64_t panel_offset(const Packing& p, int64_t k, int64_t chunk, int64_t panel) {
  const int64_t steps = divide_up(k, p.unit) * (p.unit / p.step);
  const int64_t first = cut(p.vectors, p.panels, panel);
  const int64_t vectors = panel < p.panels ? cut(p.vectors, p.panels, panel + 1) - first : 0;
  return (first * steps + vectors * (chunk * p.depth / p.step)) * p.parts * kWidth;
}

}  // namespace hrsam::cpu::HRSAM_ISA

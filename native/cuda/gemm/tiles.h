// In which order blocks take the tiles of a product.
#pragma once

#include "../core/kernel.h"

namespace hrsam::cuda {

struct Tile {
  int64_t row, column;
};

// Blocks that run together take a square of tiles rather than a row of them, so that what they read
// of A and B stays in the L2 cache: groups of kTileGroup rows of tiles, column by column.
constexpr int64_t kTileGroup = 8;
HRSAM_BOTH Tile tile_of(int64_t index, int64_t rows, int64_t columns) {
  const int64_t group = index / (kTileGroup * columns), within = index % (kTileGroup * columns);
  const int64_t first = group * kTileGroup;
  const int64_t height = rows - first < kTileGroup ? rows - first : kTileGroup;
  return {first + within % height, within / height};
}

// Where a piece of 16 bytes of a tile's row of 64 bytes lies in shared memory, in pieces: the eight
// rows that ldmatrix reads at once then lie in eight different groups of banks.
HRSAM_BOTH int swizzled(int row, int piece) { return row * 4 + (piece ^ (row >> 1 & 3)); }

}  // namespace hrsam::cuda

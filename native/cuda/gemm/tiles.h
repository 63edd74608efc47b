// In which order blocks take the tiles of a product.
#pragma once

#include "../core/kernel.h"

namespace hrsam::cuda {

struct Tile {
  int64_t row, column;
};

HRSAM_BOTH uint32_t tiles_across(int64_t length, int tile) {
  return static_cast<uint32_t>(divide_up(length, tile));
}

// Blocks that run together take a square of tiles rather than a row of them, so that what they read
// of A and B stays in the L2 cache: groups of kTileGroup rows of tiles, column by column. A grid
// has fewer than 2^31 blocks, and no more rows or columns of tiles.
constexpr uint32_t kTileGroup = 8;
HRSAM_BOTH Tile tile_of(uint32_t index, uint32_t rows, uint32_t columns) {
  const uint32_t group = index / (kTileGroup * columns), within = index % (kTileGroup * columns);
  const uint32_t first = group * kTileGroup;
  const uint32_t height = rows - first < kTileGroup ? rows - first : kTileGroup;
  return {first + within % height, within / height};
}

// Where a piece of 16 bytes of a tile's row of 64 bytes lies in shared memory, in pieces: the eight
// rows that ldmatrix reads at once then lie in eight different groups of banks.
HRSAM_BOTH int swizzled(int row, int piece) { return row * 4 + (piece ^ (row >> 1 & 3)); }

}  // namespace hrsam::cuda

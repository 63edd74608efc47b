// The index arithmetic that CUDA kernels and their launchers share, without any kernel.
#include <set>
#include <utility>

#include "../cuda/add_parts.h"
#include "../cuda/attention/units.h"
#include "../cuda/gemm/tiles.h"
#include "check.h"

using namespace hrsam::cuda;
using hrsam::test::text;

TEST(every_tile_is_taken_once) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1, 1}, {1, 9}, {8, 3}, {9, 1}, {23, 24}}) {
    std::set<std::pair<int64_t, int64_t>> seen;
    for (int64_t i = 0; i < rows * columns; ++i) {
      const Tile tile = tile_of(i, rows, columns);
      CHECK(tile.row >= 0 && tile.row < rows && tile.column >= 0 && tile.column < columns);
      seen.insert({tile.row, tile.column});
    }
    CHECK_EQ(static_cast<int64_t>(seen.size()), rows * columns);
  }
}

TEST(blocks_that_run_together_share_rows_and_columns) {
  std::set<int64_t> rows, columns;
  for (int64_t i = 0; i < 64; ++i) {
    const Tile tile = tile_of(i, 64, 64);
    rows.insert(tile.row);
    columns.insert(tile.column);
  }
  CHECK_EQ(rows.size(), 8u);
  CHECK_EQ(columns.size(), 8u);
}

TEST(swizzled_pieces_meet_no_bank_conflict) {
  std::set<int> places;
  for (int row = 0; row < 16; ++row)
    for (int piece = 0; piece < 4; ++piece) places.insert(swizzled(row, piece));
  CHECK_EQ(places.size(), 64u);
  // ldmatrix reads the same piece of eight rows at once: eight groups of four banks.
  for (int first = 0; first < 16; first += 8)
    for (int piece = 0; piece < 4; ++piece) {
      std::set<int> banks;
      for (int row = first; row < first + 8; ++row) banks.insert(swizzled(row, piece) % 8);
      CHECK_EQ(banks.size(), 8u);
    }
}

TEST(a_grid_holds_the_parts_of_the_longest_sums) {
  for (const int64_t terms : {int64_t{1}, int64_t{2048}, 65535 * int64_t{1024}})
    CHECK_EQ(part_length(terms, 1024), 1024);
  for (const int64_t terms : {65535 * int64_t{1024} + 1, int64_t{1} << 31, int64_t{1} << 38})
    CHECK(divide_up(terms, part_length(terms, 1024)) <= 65535);
}

TEST(every_token_lies_in_one_window) {
  struct Case {
    int h, w, window, before, shift;
  };
  for (const Case& c : {Case{5, 7, 4, 0, 0}, Case{5, 7, 4, 2, 0}, Case{8, 8, 4, 3, 0},
                        Case{8, 12, 4, 0, 2}, Case{1, 1, 16, 8, 0}}) {
    Geometry g{};
    g.window = c.window;
    g.before = c.before;
    g.shift = c.shift;
    g.scale_count = 2;
    for (int i = 0; i < 2; ++i) {
      Scale& s = g.scales[i];
      s = {g.tokens,
           g.windows,
           c.h + i,
           c.w,
           static_cast<int>(divide_up(c.h + i + c.before, c.window)),
           static_cast<int>(divide_up(c.w + c.before, c.window))};
      if (c.shift > 0) s.h = c.h;  // whole windows
      if (c.shift > 0) s.windows_down = c.h / c.window;
      g.tokens += int64_t{s.h} * s.w;
      g.windows += int64_t{s.windows_down} * s.windows_across;
    }
    std::set<int32_t> seen;
    int64_t found = 0;
    for (int64_t window = 0; window < g.windows; ++window) {
      const WindowPlace at = place_window(g, window);
      for (int i = 0; i < g.window; ++i)
        for (int j = 0; j < g.window; ++j) {
          const WindowToken token = token_at(g, at, i, j);
          CHECK(token.region >= 0 && token.region < kRegions);
          if (token.token < 0) continue;
          ++found;
          seen.insert(token.token);
        }
    }
    CHECK_EQ(found, g.tokens);
    CHECK_EQ(static_cast<int64_t>(seen.size()), g.tokens);
  }
}

int main() {
  for (const hrsam::test::Test& test : hrsam::test::tests()) test.body();
  std::cout << hrsam::test::tests().size() << " tests, " << hrsam::test::failures()
            << " failed checks" << std::endl;
  return hrsam::test::failures() == 0 ? 0 : 1;
}

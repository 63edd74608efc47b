// Distances, the simulated click and boundary overlaps against their definitions.
#include "../image/distance_transform.h"

#include <cmath>
#include <limits>
#include <random>

#include "../image/boundary.h"
#include "../image/mask_encode.h"
#include "../image/next_click.h"
#include "check.h"

using namespace hrsam::test;
using namespace hrsam::image;

namespace {

using Map = std::vector<uint8_t>;

// Labels 0 to 2 in blocks of the given size, so that regions of all kinds arise.
Map random_map(int64_t rows, int64_t columns, int64_t block, uint32_t seed, int labels = 3) {
  Map map(static_cast<size_t>(rows * columns));
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < columns; ++x) {
      std::mt19937 random(seed * 7919u + static_cast<uint32_t>(y / block * 1000 + x / block));
      random.discard(3);
      map[static_cast<size_t>(y * columns + x)] =
          static_cast<uint8_t>(random() % static_cast<uint32_t>(labels));
    }
  return map;
}

// The definition: every pair of pixels, and a frame of outside pixels.
std::vector<int32_t> by_definition(const Map& map, int64_t rows, int64_t columns) {
  std::vector<int32_t> out;
  const auto label = [&](int64_t y, int64_t x) -> int {
    if (y < 0 || x < 0 || y >= rows || x >= columns) return -1;
    return map[static_cast<size_t>(y * columns + x)];
  };
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < columns; ++x) {
      int64_t best = INT32_MAX;
      for (int64_t v = -1; v <= rows; ++v)
        for (int64_t u = -1; u <= columns; ++u)
          if (label(v, u) != label(y, x))
            best = std::min(best, (y - v) * (y - v) + (x - u) * (x - u));
      out.push_back(label(y, x) == 0 ? 0 : static_cast<int32_t>(best));
    }
  return out;
}

Runs runs(const Map& map, int64_t rows, int64_t columns) {
  return summarise_mask(map.data(), rows, columns, true).counts;
}

TEST(distances_follow_their_definition) {
  const int64_t sizes[][2] = {{1, 1}, {1, 17}, {17, 1}, {2, 2}, {13, 21}, {40, 33}};
  for (const auto& [rows, columns] : sizes)
    for (const int64_t block : {1, 3, 9, 100})
      for (uint32_t seed = 0; seed < 4; ++seed) {
        const Map map = random_map(rows, columns, block, seed);
        CHECK_MAX(squared_distances(map.data(), rows, columns), by_definition(map, rows, columns),
                  0.0);
      }
}

TEST(a_full_map_is_measured_to_its_border) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{7, 12}, {64, 5}}) {
    const Map map(static_cast<size_t>(rows * columns), 1);
    const auto distances = squared_distances(map.data(), rows, columns);
    for (int64_t y = 0; y < rows; ++y)
      for (int64_t x = 0; x < columns; ++x) {
        const int64_t d = std::min({y + 1, rows - y, x + 1, columns - x});
        CHECK_EQ(distances[static_cast<size_t>(y * columns + x)], d * d);
      }
  }
}

TEST(the_longest_distances_fit) {
  const int64_t side = 32767;
  const Map row(static_cast<size_t>(side), 2), column(row);
  CHECK_EQ(squared_distances(row.data(), 1, side)[16383], 1);
  CHECK_EQ(squared_distances(column.data(), side, 1)[16383], 1);
  const int64_t rows = 401;
  const Map band(static_cast<size_t>(side * rows), 1);
  CHECK_EQ(squared_distances(band.data(), rows, side)[static_cast<size_t>(200 * side + 16383)],
           201 * 201);
  CHECK_EQ(squared_distances(band.data(), side, rows)[static_cast<size_t>(16383 * rows + 200)],
           201 * 201);
}

TEST(an_empty_map_has_no_distances) { CHECK(squared_distances(nullptr, 0, 0).empty()); }

TEST(stretches_cover_both_masks_whatever_their_runs) {
  const Runs cases[] = {{12}, {0, 12}, {3, 0, 2, 7}, {0, 0, 0, 12, 0}, {5, 7}, {0, 1, 1, 1, 9}};
  for (const Runs& a : cases)
    for (const Runs& b : cases) {
      std::vector<int> seen(12, -1), expected(12, 0);
      const auto paint = [&](const Runs& mask, int bit) {
        size_t at = 0;
        for (size_t i = 0; i < mask.size(); ++i)
          for (uint32_t k = 0; k < mask[i]; ++k) expected[at++] |= (i & 1) != 0 ? bit : 0;
      };
      paint(a, 1), paint(b, 2);
      each_stretch(a, b, [&](int64_t begin, int64_t end, bool in_a, bool in_b) {
        for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)] = in_a + 2 * in_b;
      });
      CHECK_MAX(seen, expected, 0.0);
    }
}

TEST(clicks_follow_their_definition) {
  const int64_t rows = 31, columns = 45;
  for (uint32_t seed = 0; seed < 12; ++seed) {
    const Map predicted = random_map(rows, columns, 1 + seed % 7, seed, 2);
    const Map object = random_map(rows, columns, 1 + seed % 5, seed + 50, 2);
    const std::vector<uint32_t> clicked = {seed * 11, 700 + seed};
    const double k = seed % 3 == 0 ? 1.0 : 1.6;
    Map errors;
    for (size_t i = 0; i < object.size(); ++i)
      errors.push_back(object[i] == predicted[i] ? 0 : object[i] ? 1 : 2);
    for (const uint32_t position : clicked) errors[position] = 0;
    const auto squared = by_definition(errors, rows, columns);
    int32_t deepest[3] = {0, 0, 0};
    for (size_t i = 0; i < squared.size(); ++i)
      deepest[errors[i]] = std::max(deepest[errors[i]], squared[i]);
    const uint8_t wanted = deepest[1] > deepest[2] ? 1 : 2;
    std::vector<uint32_t> candidates;
    for (size_t i = 0; i < squared.size(); ++i)
      if (errors[i] == wanted && std::sqrt(squared[i]) > std::sqrt(deepest[wanted]) / (k + 1e-7))
        candidates.push_back(static_cast<uint32_t>(i));

    const NextClick click = next_click(runs(predicted, rows, columns), runs(object, rows, columns),
                                       rows, columns, clicked, k);
    CHECK_EQ(click.label, wanted == 1 ? 1 : 0);
    CHECK_EQ(click.deepest_missing, std::sqrt(static_cast<float>(deepest[1])));
    CHECK_EQ(click.deepest_extra, std::sqrt(static_cast<float>(deepest[2])));
    CHECK_MAX(click.candidates, candidates, 0.0);
  }
}

// Squares that fill their picture, nothing found: a pixel `deep` steps from the border is that far
// from the outside. What PyTorch says of distance > 1 / (k + eps) * deepest, with its rounding.
TEST(a_limit_that_is_a_distance_is_rounded_as_in_pytorch) {
  const float eps = std::numeric_limits<float>::epsilon();
  const struct {
    int64_t side;
    double k;
    int64_t deep;  // of the candidates, at least
  } cases[] = {{9, 1, 5},  {9, 2, 3},    {17, 3, 3},   {11, 3, 2}, {15, 4, 3},
               {9, 5, 1},  {11, 6, 1},   {23, 6, 2},   {13, 7, 1}, {49, 2.5, 10},
               {9, -1, 1}, {9, -eps, 1}, {9, -0.5, 1}, {1, 3, 1}};
  for (const auto& [side, k, deep] : cases) {
    const auto pixels = static_cast<uint32_t>(side * side);
    const NextClick click = next_click({pixels}, {0, pixels}, side, side, {}, k);
    std::vector<uint32_t> wanted;
    for (int64_t y = deep - 1; y <= side - deep; ++y)
      for (int64_t x = deep - 1; x <= side - deep; ++x)
        wanted.push_back(static_cast<uint32_t>(y * side + x));
    CHECK_EQ(click.candidates.size(), wanted.size());
    if (click.candidates.size() == wanted.size()) CHECK_MAX(click.candidates, wanted, 0.0);
  }
}

TEST(a_right_prediction_needs_no_click) {
  const Map map = random_map(20, 30, 4, 1, 2);
  const NextClick click = next_click(runs(map, 20, 30), runs(map, 20, 30), 20, 30, {}, 1);
  CHECK_EQ(click.label, -1);
  CHECK(click.candidates.empty());
}

TEST(a_click_on_the_only_wrong_pixel_leaves_none) {
  const NextClick click = next_click({12}, {4, 1, 7}, 3, 4, {5}, 1);  // x 1, y 1
  CHECK_EQ(click.label, -1);
}

TEST(boundaries_follow_their_definition) {
  const int64_t rows = 37, columns = 52;
  for (uint32_t seed = 0; seed < 8; ++seed)
    for (const int64_t radius : {1, 2, 5, 30}) {
      const Map a = random_map(rows, columns, 9, seed, 2),
                b = random_map(rows, columns, 14, seed, 2);
      const auto boundary = [&](const Map& map, int64_t y, int64_t x) {
        if (!map[static_cast<size_t>(y * columns + x)]) return false;
        for (int64_t v = y - radius; v <= y + radius; ++v)
          for (int64_t u = x - radius; u <= x + radius; ++u)
            if (v < 0 || u < 0 || v >= rows || u >= columns ||
                !map[static_cast<size_t>(v * columns + u)])
              return true;
        return false;
      };
      int64_t both = 0, either = 0;
      for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x) {
          both += boundary(a, y, x) && boundary(b, y, x);
          either += boundary(a, y, x) || boundary(b, y, x);
        }
      const Overlap overlap =
          boundary_overlap(runs(a, rows, columns), runs(b, rows, columns), rows, radius);
      CHECK_EQ(overlap.intersection, both);
      CHECK_EQ(overlap.joined, either);
    }
}

TEST(all_is_boundary_where_nothing_is_deeper) {
  for (const int64_t radius : {int64_t{2}, int64_t{3}, int64_t{1} << 62, INT64_MAX}) {
    const Overlap overlap = boundary_overlap({0, 16}, {0, 16}, 4, radius);
    CHECK_EQ(overlap.intersection, 16);
    CHECK_EQ(overlap.joined, 16);
  }
}

TEST(empty_masks_have_no_boundary) {
  const Overlap overlap = boundary_overlap({12}, {12}, 3, 2);
  CHECK_EQ(overlap.intersection, 0);
  CHECK_EQ(overlap.joined, 0);
}

}  // namespace

int main() {
  for (const Test& test : tests()) test.body();
  return failures() == 0 ? 0 : 1;
}

// Coverage of outlines, soft maps, and whose pixel each is.
#include <cmath>
#include <numeric>

#include "../image/sample.h"
#include "../image/scene.h"
#include "../image/scene_layer.h"
#include "check.h"

using namespace hrsam::test;
using namespace hrsam::image::scene;

namespace {

double area(const std::vector<uint8_t>& alpha) {
  return std::accumulate(alpha.begin(), alpha.end(), 0.0) / 255;
}

TEST(coverage_is_the_exact_area) {
  // A rectangle at quarters of pixels.
  const auto alpha = coverage({box(1.25, 2.5, 4.75, 4.25)}, {0, 0, 6, 6});
  const double columns[6] = {0, 0.75, 1, 1, 0.75, 0}, rows[6] = {0, 0, 0.5, 1, 0.25, 0};
  for (int y = 0; y < 6; ++y)
    for (int x = 0; x < 6; ++x)
      CHECK(alpha[static_cast<size_t>(y * 6 + x)] ==
            static_cast<uint8_t>(rows[y] * columns[x] * 255 + 0.5));
  // A slanted triangle and a disk: areas that are known.
  CHECK(std::abs(area(coverage({{{3, 2}, {37, 11}, {9, 31}}}, {0, 0, 40, 40})) - 466) < 1);
  const double disk = area(coverage({ellipse({20, 20}, 15, 15, 0, 400)}, {0, 0, 40, 40}));
  CHECK(std::abs(disk - 3.14159265 * 225) < 2);
}

TEST(holes_and_overlaps) {
  const Rect rect{0, 0, 20, 20};
  const Contour large = box(2, 2, 18, 18), small = box(6, 6, 10, 10);
  CHECK(area(coverage({large, reversed(small)}, rect)) == 256 - 16);
  CHECK(area(coverage({large, small}, rect)) == 256);
  // A hole that sticks out takes nothing from elsewhere.
  CHECK(area(coverage({large, reversed(box(10, 0, 14, 6))}, rect)) == 256 - 16);
}

TEST(coverage_clips_to_the_rectangle) {
  const auto alpha = coverage({box(-50, -50, 50, 50)}, {10, 20, 17, 25});
  CHECK(alpha.size() == 35 && area(alpha) == 35);
  CHECK(area(coverage({box(-50, -50, -1, 50)}, {0, 0, 8, 8})) == 0);
  CHECK(area(coverage({box(9, 0, 50, 50)}, {0, 0, 8, 8})) == 0);
}

TEST(soft_maps_keep_the_weight) {
  const Rect rect{10, 10, 70, 60};
  const std::vector<uint8_t> full(60 * 50, 255);
  for (const double radius : {1.0, 5.0, 16.0}) {
    const SoftMap map(full, rect, radius);
    const Rect reach = map.rect();
    std::vector<uint8_t> row(static_cast<size_t>(reach.width()));
    double sum = 0;
    for (int y = reach.y0; y < reach.y1; ++y) {
      map.row(y, reach.x0, reach.width(), row.data());
      sum += area(row);
    }
    CHECK(std::abs(sum / 3000 - 1) < 0.05);
    map.row(35, 40, 1, row.data());
    CHECK(row[0] > 240 || radius > 10);
  }
}

Layer flat(Rect rect, uint8_t alpha) {
  const size_t pixels = static_cast<size_t>(rect.width()) * rect.height();
  return {rect, std::vector<uint8_t>(3 * pixels, 200), std::vector<uint8_t>(pixels, alpha)};
}

TEST(a_pixel_is_whose_half_is_seen) {
  struct Case {
    std::vector<int> alphas;
    int owner;
  };
  // Back to front; seen of each: its own share times what those in front leave.
  const Case cases[] = {{{255}, 1},           {{127}, 0},           {{128}, 1},
                        {{255, 100}, 1},      {{255, 128}, 2},      {{200, 100}, 0},
                        {{255, 127, 20}, 0},  {{255, 200, 100}, 0}, {{255, 60, 60}, 1},
                        {{255, 255, 255}, 3}, {{255, 0, 255, 0}, 3}};
  for (const Case& c : cases) {
    Canvas canvas(1, 1);
    for (size_t i = 0; i < c.alphas.size(); ++i)
      compose(canvas, flat({0, 0, 1, 1}, static_cast<uint8_t>(c.alphas[i])),
              static_cast<uint8_t>(i + 1));
    CHECK_EQ(canvas.owner[0], c.owner);
  }
}

TEST(every_shape_of_picture) {
  const int sides[][2] = {{16, 16}, {16, 300}, {301, 17}, {255, 257}};
  for (const auto& [width, height] : sides)
    for (uint64_t seed = 0; seed < 40; ++seed) {
      const auto scene = hrsam::image::generate_scene(seed, width, height, seed % 3 == 0 ? 64 : 0);
      CHECK(scene.rgb.size() == 3 * scene.owner.size());
      for (const uint8_t owner : scene.owner) CHECK(owner <= scene.objects);
    }
}

TEST(samples_of_extreme_parts) {
  const std::vector<uint8_t> rgb(3 * 7 * 5, 90), mask(7 * 5, 1);
  hrsam::image::SampleSpec spec;
  spec.size = 9;
  spec.width = 9;
  spec.height = 4;
  for (const double start : {-1e6, -3.0, 0.0, 6.5, 1e6})
    for (const double step : {-1e4, -0.3, 1e-4, 1.0, 1e4}) {
      hrsam::image::SampleLayer layer;
      layer.rgb = rgb.data();
      layer.mask = mask.data();
      layer.width = 7;
      layer.height = 5;
      layer.x = layer.y = start;
      layer.step_x = layer.step_y = step;
      layer.turn_x = step / 2;
      layer.turn_y = -step / 3;
      spec.layers = {layer, layer};
      spec.feather = 2;
      spec.shadow = 100;
      spec.blur = spec.noise = 3;
      const auto sample = hrsam::image::make_sample(spec);
      for (int i = 0; i < 81; ++i) CHECK((sample.mask[static_cast<size_t>(i)] == 255) == (i >= 36));
    }
}

// A quarter turn is exact: the columns of the output are the rows of the source.
TEST(samples_turn) {
  constexpr int kWidth = 5, kHeight = 3;
  std::vector<uint8_t> rgb(3 * kWidth * kHeight), mask(kWidth * kHeight);
  for (size_t i = 0; i < mask.size(); ++i) {
    rgb[3 * i] = rgb[3 * i + 1] = rgb[3 * i + 2] = static_cast<uint8_t>(10 * i);
    mask[i] = i % 3 == 0;
  }
  hrsam::image::SampleLayer turned;
  turned.rgb = rgb.data();
  turned.mask = mask.data();
  turned.width = kWidth;
  turned.height = kHeight;
  turned.step_x = turned.step_y = 0;
  turned.turn_x = 1;   // down the output, along the source's row
  turned.turn_y = -1;  // along the output's row, up the source
  turned.y = kHeight;
  hrsam::image::SampleSpec spec;
  spec.size = kWidth + 4;
  spec.width = kHeight;
  spec.height = kWidth;
  spec.layers = {turned};
  spec.others = {mask.data()};
  const auto whole = hrsam::image::make_sample(spec);
  const auto source = [&](int i, int j) {
    return static_cast<size_t>((kHeight - 1 - i) * kWidth + j);
  };
  for (int j = 0; j < kWidth; ++j)
    for (int i = 0; i < kHeight; ++i) {
      const size_t at = static_cast<size_t>(j * spec.size + i);
      CHECK_EQ(int{whole.rgb[3 * at]}, int{rgb[3 * source(i, j)]});
      CHECK_EQ(int{whole.mask[at]}, int{mask[source(i, j)]});
      CHECK_EQ(int{whole.others[0][at]}, int{mask[source(i, j)]});
    }
  // Pasted, it ends where its picture does, on every side.
  const std::vector<uint8_t> black(3 * 81), none(81), all(mask.size(), 1);
  hrsam::image::SampleLayer base;
  base.rgb = black.data();
  base.mask = none.data();
  base.width = base.height = 9;
  turned.mask = all.data();
  turned.x -= 2;  // rows 2 to 6
  turned.y += 3;  // columns 3 to 5
  spec.width = spec.height = 9;
  spec.layers = {base, turned};
  spec.others = {};
  spec.target = 1;
  const auto pasted = hrsam::image::make_sample(spec);
  for (int j = 0; j < 9; ++j)
    for (int i = 0; i < 9; ++i)
      CHECK_EQ(int{pasted.mask[static_cast<size_t>(9 * j + i)]},
               int{i >= 3 && i < 6 && j >= 2 && j < 7});
}

TEST(samples_label_further_objects) {
  // Left half and right half of the base; something pasted over the middle hides both.
  const std::vector<uint8_t> rgb(3 * 8 * 4, 90), all(8 * 4, 1);
  std::vector<uint8_t> left(8 * 4), right(8 * 4), middle(8 * 4);
  for (size_t i = 0; i < left.size(); ++i) {
    left[i] = i % 8 < 4;
    right[i] = i % 8 >= 4;
    middle[i] = i % 8 == 3 || i % 8 == 4;
  }
  hrsam::image::SampleSpec spec;
  spec.size = 8;
  spec.width = 8;
  spec.height = 4;
  hrsam::image::SampleLayer base;
  base.rgb = rgb.data();
  base.mask = all.data();
  base.width = 8;
  base.height = 4;
  hrsam::image::SampleLayer pasted = base;
  pasted.mask = middle.data();
  spec.others = {left.data(), right.data()};
  for (const bool hidden : {false, true}) {
    spec.layers = {base};
    if (hidden) spec.layers.push_back(pasted);
    const auto sample = hrsam::image::make_sample(spec);
    CHECK_EQ(sample.others.size(), 2u);
    for (size_t i = 0; i < 64; ++i) {
      const size_t x = i % 8;
      const bool seen = !hidden || (x != 3 && x != 4);
      CHECK_EQ(int{sample.others[0][i]}, i >= 32 ? 255 : seen && x < 4);
      CHECK_EQ(int{sample.others[1][i]}, i >= 32 ? 255 : seen && x >= 4);
    }
  }
}

}  // namespace

int main() {
  for (const Test& test : tests()) test.body();
  return failures() == 0 ? 0 : 1;
}

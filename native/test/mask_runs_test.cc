// Masks summarised on a device against the host's own summary. Backends whose memory is the host's
// have no such function.
#include <random>

#include "../image/mask_encode.h"
#include "harness.h"

using namespace hrsam::test;
using hrsam::image::MaskSummary;

namespace {

bool is_host() {
  const Buffer buffer(1);
  return backend().buffer_host(buffer.handle()) != nullptr;
}

std::vector<MaskSummary> summaries(const std::vector<uint8_t>& masks, int64_t count, int64_t height,
                                   int64_t width) {
  struct Context {
    std::vector<MaskSummary> made;
    int64_t pixels;
  } context{{}, height * width};
  const Buffer buffer(masks.size());
  BACKEND(buffer_write, buffer.handle(), 0, masks.data(), masks.size());
  const hrsam_take_mask take = [](void* raw, const hrsam_mask* mask) {
    auto* to = static_cast<Context*>(raw);
    MaskSummary made;
    made.area = mask->area;
    std::copy(mask->box, mask->box + 4, made.box);
    made.counts = hrsam::image::run_lengths(mask->begins, mask->begin_count, to->pixels);
    to->made.push_back(made);
  };
  BACKEND(mask_runs, buffer.handle(), count, height, width, take, &context);
  return context.made;
}

void compare(const std::vector<uint8_t>& masks, int64_t count, int64_t height, int64_t width) {
  const std::vector<MaskSummary> got = summaries(masks, count, height, width);
  CHECK_EQ(static_cast<int64_t>(got.size()), count);
  for (size_t i = 0; i < got.size(); ++i) {
    const MaskSummary want = hrsam::image::summarise_mask(
        masks.data() + static_cast<int64_t>(i) * height * width, height, width, true);
    CHECK_EQ(text(height, " x ", width, ' ', got[i].area),
             text(height, " x ", width, ' ', want.area));
    for (int k = 0; k < 4; ++k) CHECK_EQ(got[i].box[k], want.box[k]);
    CHECK(got[i].counts == want.counts);
  }
}

}  // namespace

TEST(noise_of_every_density) {
  if (is_host()) return;
  std::mt19937 random(3);
  for (const auto& [height, width] : std::vector<std::pair<int64_t, int64_t>>{
           {1, 1}, {1, 70}, {70, 1}, {63, 5}, {64, 5}, {65, 300}, {200, 129}, {130, 257}})
    for (const uint32_t percent : {0u, 2u, 50u, 98u, 100u}) {
      std::vector<uint8_t> masks(static_cast<size_t>(2 * height * width));
      for (uint8_t& pixel : masks) pixel = random() % 100 < percent ? random() % 255 + 1 : 0;
      compare(masks, 2, height, width);
    }
}

TEST(shapes_and_borders) {
  if (is_host()) return;
  constexpr int64_t kHeight = 150, kWidth = 90;
  std::vector<uint8_t> masks(5 * kHeight * kWidth);
  for (int64_t y = 0; y < kHeight; ++y)
    for (int64_t x = 0; x < kWidth; ++x) {
      const bool shapes[] = {(y - 70) * (y - 70) + (x - 40) * (x - 40) < 900, y + 1 == kHeight,
                             y == 0 && x == 0, y < 64 || x == 89, (x / 3 + y / 64) % 2 == 0};
      for (int64_t i = 0; i < 5; ++i)
        masks[static_cast<size_t>((i * kHeight + y) * kWidth + x)] = shapes[i];
    }
  compare(masks, 5, kHeight, kWidth);
}

TEST(nothing_at_all) {
  if (is_host()) {
    CHECK(backend().mask_runs == nullptr);
    return;
  }
  CHECK(summaries({}, 0, 5, 7).empty());
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{0, 7}, {7, 0}}) {
    const std::vector<MaskSummary> got = summaries({}, 2, height, width);
    CHECK_EQ(got.size(), 2u);
    for (const MaskSummary& each : got) CHECK_EQ(each.area, 0);
  }
}

TEST(sizes_that_do_not_fit_the_buffer) {
  if (is_host()) return;
  const Buffer buffer(100);
  const hrsam_take_mask take = [](void*, const hrsam_mask*) {};
  const auto code = [&](int64_t count, int64_t height, int64_t width) -> std::string {
    hrsam_error error{};
    return backend().mask_runs(buffer.handle(), count, height, width, take, nullptr, &error) == 0
               ? ""
               : error.code;
  };
  CHECK_EQ(code(1, 10, 11), "ERR_INTERNAL");
  CHECK_EQ(code(11, 10, 1), "ERR_INTERNAL");
  CHECK_EQ(code(-1, 10, 10), "ERR_SHAPE");
  CHECK_EQ(code(1, -10, -10), "ERR_SHAPE");
  CHECK_EQ(code(1, int64_t{1} << 32, int64_t{1} << 32), "ERR_SHAPE");
  CHECK_EQ(code(int64_t{1} << 62, 10, 10), "ERR_SHAPE");
}

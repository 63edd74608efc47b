#include "next_click.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "distance_transform.h"

namespace hrsam::image {

namespace {

enum Error : uint8_t { kNone = 0, kMissing = 1, kExtra = 2 };

}  // namespace

NextClick next_click(const Runs& prediction, const Runs& object, int64_t height, int64_t width,
                     const std::vector<uint32_t>& clicked, double inner_k) {
  NextClick click;
  // Only the window that holds errors is looked at: around it nothing is wrong, as outside.
  Window window;
  each_stretch(prediction, object, [&](int64_t begin, int64_t end, bool predicted, bool inside) {
    if (predicted != inside) window.include(begin, end, height);
  });
  if (window.empty()) return click;
  // Column after column, as the runs lie: distances do not mind.
  std::vector<uint8_t> errors(static_cast<size_t>(window.columns() * window.rows()), kNone);
  each_stretch(prediction, object, [&](int64_t begin, int64_t end, bool predicted, bool inside) {
    if (predicted == inside) return;
    fill_stretch(errors.data(), window, height, begin, end, inside ? kMissing : kExtra);
  });
  for (const uint32_t position : clicked) {
    const int64_t x = position % width - window.x0, y = position / width - window.y0;
    if (x >= 0 && x < window.columns() && y >= 0 && y < window.rows())
      errors[static_cast<size_t>(x * window.rows() + y)] = kNone;
  }

  const std::vector<int32_t> squared =
      squared_distances(errors.data(), window.columns(), window.rows());
  int32_t deepest[3] = {0, 0, 0};
  for (size_t i = 0; i < squared.size(); ++i)
    if (squared[i] > deepest[errors[i]]) deepest[errors[i]] = squared[i];
  click.deepest_missing = std::sqrt(static_cast<float>(deepest[kMissing]));
  click.deepest_extra = std::sqrt(static_cast<float>(deepest[kExtra]));
  if (deepest[kMissing] == 0 && deepest[kExtra] == 0) return click;

  const Error clicked_error = deepest[kMissing] > deepest[kExtra] ? kMissing : kExtra;
  click.label = clicked_error == kMissing ? 1 : 0;
  // As the published code has it: k is a little larger, so that k = 1 leaves the deepest, and its
  // inverse is rounded to float32 before it is multiplied with the distance, a float32 too.
  const double k = inner_k + static_cast<double>(std::numeric_limits<float>::epsilon());
  const auto scale = inner_k < 0 ? 0.0F : static_cast<float>(1 / k);
  const float limit = scale * std::max(click.deepest_missing, click.deepest_extra);
  for (size_t i = 0; i < squared.size(); ++i) {
    if (errors[i] != clicked_error || !(std::sqrt(static_cast<float>(squared[i])) > limit))
      continue;
    const int64_t x = window.x0 + static_cast<int64_t>(i) / window.rows();
    const int64_t y = window.y0 + static_cast<int64_t>(i) % window.rows();
    click.candidates.push_back(static_cast<uint32_t>(y * width + x));
  }
  std::sort(click.candidates.begin(), click.candidates.end());
  return click;
}

}  // namespace hrsam::image

// mask_summary against its definition, number by number.
#include "harness.h"

using namespace hrsam::test;

namespace {

struct Options {
  int64_t rows, columns;
  double threshold = 0, offset = 1;
};

Call mask_summary(const Tensor& logits, const Options& o) {
  return Call("mask_summary")
      .input("logits", logits)
      .attribute("size", {static_cast<double>(o.rows), static_cast<double>(o.columns)})
      .attribute("threshold", {o.threshold})
      .attribute("offset", {o.offset})
      .result({logits.dims[0], logits.dims[1], 6});
}

std::vector<double> expected(const Tensor& logits, const Options& o) {
  const std::vector<float> x = logits.floats();
  const int64_t height = logits.dims[2], width = logits.dims[3];
  std::vector<double> out;
  for (int64_t mask = 0; mask < logits.dims[0] * logits.dims[1]; ++mask) {
    double inner = 0, outer = 0, x0 = 1e9, y0 = 1e9, x1 = 0, y1 = 0;
    for (int64_t i = 0; i < o.rows; ++i)
      for (int64_t j = 0; j < o.columns; ++j) {
        const float logit = x[static_cast<size_t>((mask * height + i) * width + j)];
        inner += logit > static_cast<float>(o.threshold + o.offset);
        outer += logit > static_cast<float>(o.threshold - o.offset);
        if (!(logit > static_cast<float>(o.threshold))) continue;
        const double column = static_cast<double>(j), row = static_cast<double>(i);
        x0 = std::min(x0, column);
        y0 = std::min(y0, row);
        x1 = std::max(x1, column + 1);
        y1 = std::max(y1, row + 1);
      }
    if (y1 == 0) x0 = y0 = 0;
    out.insert(out.end(), {inner, outer, x0, y0, x1, y1});
  }
  return out;
}

}  // namespace

TEST(mask_summary_of_any_size) {
  for (const Dims& dims :
       {Dims{1, 1, 1, 1}, Dims{2, 3, 7, 5}, Dims{1, 4, 33, 70}, Dims{3, 1, 300, 64}}) {
    const Tensor logits = random_tensor(dims, 1);
    for (const Options& o : {Options{dims[2], dims[3]}, Options{dims[2], dims[3], 0.25, 0.5},
                             Options{(dims[2] + 1) / 2, dims[3]}, Options{dims[2], 1, -0.5, 2},
                             Options{dims[2], dims[3], 0.97, 0.01}})
      CHECK_MAX(mask_summary(logits, o).run(), expected(logits, o), 0);
  }
}

TEST(mask_summary_of_one_pixel_of_none_and_of_all) {
  std::vector<float> x(3 * 800, -9.0f);
  x[7 * 40 + 31] = 3;
  for (size_t i = 1600; i < 2400; ++i) x[i] = 9;
  const Tensor logits = tensor({1, 3, 20, 40}, x);
  const std::vector<double> want{1, 1, 31, 7, 32, 8, 0, 0, 0, 0, 0, 0, 800, 800, 0, 0, 40, 20};
  CHECK_MAX(mask_summary(logits, {20, 40}).run(), want, 0);
}

TEST(mask_summary_counts_what_is_no_number_nowhere) {
  const Tensor logits = tensor({1, 1, 1, 3}, std::vector<float>{NAN, 5, INFINITY});
  CHECK_MAX(mask_summary(logits, {1, 3}).run(), (std::vector<double>{2, 2, 1, 0, 3, 1}), 0);
}

TEST(mask_summary_of_nothing) {
  const Tensor logits = random_tensor({1, 2, 4, 5}, 1);
  CHECK_MAX(mask_summary(logits, {0, 5}).run(), std::vector<double>(12, 0.0), 0);
  CHECK_EQ(mask_summary(random_tensor({0, 2, 4, 5}, 1), {4, 5}).run().size(), 0u);
}

TEST(mask_summary_rejects_wrong_shapes) {
  const Tensor logits = random_tensor({1, 2, 4, 5}, 1);
  CHECK_EQ(mask_summary(logits, {4, 5}).error(), "");
  CHECK_EQ(mask_summary(logits, {5, 5}).error(), "ERR_SHAPE");
  CHECK_EQ(mask_summary(logits, {4, 6}).error(), "ERR_SHAPE");
  CHECK_EQ(mask_summary(logits, {4, 5}).result({1, 2, 5}).error(), "ERR_SHAPE");
  CHECK_EQ(mask_summary(logits, {4, 5}).result({1, 2, 6}, HRSAM_BF16).error(), "ERR_SHAPE");
  CHECK_EQ(mask_summary(random_tensor({2, 4, 5}, 1), {2, 4}).result({2, 4, 6}).error(),
           "ERR_SHAPE");
}

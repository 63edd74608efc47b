// position_encoding, prompt_points and rel_pos against their formulas.
#include "harness.h"

using namespace hrsam::test;

namespace {

// SAM's code of a point whose coordinates are in [0, 1].
void append_code(std::vector<double>& out, double x, double y, const std::vector<float>& gaussian) {
  const size_t half = gaussian.size() / 2;
  for (int part = 0; part < 2; ++part)
    for (size_t e = 0; e < half; ++e) {
      const double angle = 2 * M_PI *
                           ((2 * x - 1) * static_cast<double>(gaussian[e]) +
                            (2 * y - 1) * static_cast<double>(gaussian[half + e]));
      out.push_back(part == 0 ? std::sin(angle) : std::cos(angle));
    }
}

}  // namespace

TEST(position_encoding_of_cell_centres) {
  for (const Dims& size : {Dims{1, 1}, Dims{3, 5}, Dims{64, 64}, Dims{7, 130}}) {
    for (const int64_t half : {1, 2, 13, 128}) {
      const Tensor gaussian = random_tensor({2, half}, 1);
      std::vector<double> want;
      for (int64_t i = 0; i < size[0]; ++i)
        for (int64_t j = 0; j < size[1]; ++j)
          append_code(want, (static_cast<double>(j) + 0.5) / static_cast<double>(size[1]),
                      (static_cast<double>(i) + 0.5) / static_cast<double>(size[0]),
                      gaussian.floats());
      const std::vector<float> got =
          Call("position_encoding")
              .constant("gaussian", gaussian)
              .attribute("size", {static_cast<double>(size[0]), static_cast<double>(size[1])})
              .result({1, size[0], size[1], 2 * half})
              .run();
      CHECK_MAX(got, want, 6e-8);  // half an ulp of 1
    }
  }
}

TEST(position_encoding_rejects_wrong_shapes) {
  const auto error = [](const Dims& gaussian, std::vector<double> size, const Dims& result) {
    return Call("position_encoding")
        .constant("gaussian", random_tensor(gaussian, 1))
        .attribute("size", std::move(size))
        .result(result)
        .error();
  };
  CHECK_EQ(error({2, 4}, {3, 5}, {1, 3, 5, 8}), "");
  CHECK_EQ(error({2, 4}, {5, 3}, {1, 3, 5, 8}), "ERR_SHAPE");
  CHECK_EQ(error({3, 4}, {3, 5}, {1, 3, 5, 8}), "ERR_SHAPE");
  CHECK_EQ(error({2, 4}, {3}, {1, 3, 5, 8}), "ERR_ARGUMENT");
  CHECK_EQ(error({2, 4}, {3, -5}, {1, 3, 5, 8}), "ERR_ARGUMENT");
}

TEST(prompt_points_by_label) {
  constexpr int64_t kHalf = 9, kWidth = 2 * kHalf, kHeightPixels = 480, kWidthPixels = 640;
  const std::vector<float> labels{-1, 0, 1, 2, 3, -2, 0.5f, 4, NAN, 1};
  const int64_t n = static_cast<int64_t>(labels.size()) / 2;
  const Tensor points = random_tensor({2, n, 2}, 1, HRSAM_F32, 300),
               gaussian = random_tensor({2, kHalf}, 2);
  const Tensor embeddings = random_tensor({4, kWidth}, 3),
               not_a_point = random_tensor({1, kWidth}, 4);
  const std::vector<float> pixels = points.floats(), table = embeddings.floats();
  std::vector<double> want;
  for (size_t i = 0; i < labels.size(); ++i) {
    const size_t begin = want.size();
    append_code(want, (static_cast<double>(pixels[2 * i]) + 0.5) / kWidthPixels,
                (static_cast<double>(pixels[2 * i + 1]) + 0.5) / kHeightPixels, gaussian.floats());
    for (size_t e = 0; e < kWidth; ++e) {
      if (labels[i] == -1) want[begin + e] = static_cast<double>(not_a_point.floats()[e]);
      for (size_t k = 0; k < 4; ++k)
        if (labels[i] == static_cast<float>(k))
          want[begin + e] += static_cast<double>(table[k * kWidth + e]);
    }
  }
  const std::vector<float> got = Call("prompt_points")
                                     .input("points", points)
                                     .input("labels", tensor({2, n}, labels))
                                     .constant("gaussian", gaussian)
                                     .constant("embeddings", embeddings)
                                     .constant("not_a_point", not_a_point)
                                     .attribute("size", {kHeightPixels, kWidthPixels})
                                     .result({2, n, kWidth})
                                     .run();
  CHECK_MAX(got, want, 4e-7);
}

TEST(prompt_points_in_any_number) {
  for (const int64_t n : {0, 1, 5000}) {
    const Tensor points = random_tensor({1, n, 2}, 1, HRSAM_F32, 300),
                 gaussian = random_tensor({2, 8}, 2);
    const std::vector<float> pixels = points.floats();
    std::vector<double> want;
    for (int64_t i = 0; i < n; ++i)
      append_code(want, (static_cast<double>(pixels[static_cast<size_t>(2 * i)]) + 0.5) / 1024,
                  (static_cast<double>(pixels[static_cast<size_t>(2 * i + 1)]) + 0.5) / 1024,
                  gaussian.floats());
    const std::vector<float> got =
        Call("prompt_points")
            .input("points", points)
            .input("labels", tensor({1, n}, std::vector<float>(static_cast<size_t>(n), 7.0f)))
            .constant("gaussian", gaussian)
            .constant("embeddings", random_tensor({4, 16}, 3))
            .constant("not_a_point", random_tensor({1, 16}, 4))
            .attribute("size", {1024, 1024})
            .result({1, n, 16})
            .run();
    CHECK_MAX(got, want, 6e-8);
  }
}

TEST(prompt_points_rejects_wrong_shapes) {
  const auto error = [](const Dims& points, const Dims& labels, const Dims& embeddings,
                        double height) {
    return Call("prompt_points")
        .input("points", random_tensor(points, 1))
        .input("labels", random_tensor(labels, 2))
        .constant("gaussian", random_tensor({2, 4}, 3))
        .constant("embeddings", random_tensor(embeddings, 4))
        .constant("not_a_point", random_tensor({1, 8}, 5))
        .attribute("size", {height, 100})
        .result({1, 3, 8})
        .error();
  };
  CHECK_EQ(error({1, 3, 2}, {1, 3}, {4, 8}, 100), "");
  CHECK_EQ(error({1, 3, 3}, {1, 3}, {4, 8}, 100), "ERR_SHAPE");
  CHECK_EQ(error({1, 3, 2}, {1, 2}, {4, 8}, 100), "ERR_SHAPE");
  CHECK_EQ(error({1, 3, 2}, {3}, {4, 8}, 100), "ERR_SHAPE");
  CHECK_EQ(error({1, 3, 2}, {1, 3}, {3, 8}, 100), "ERR_SHAPE");
  CHECK_EQ(error({1, 3, 2}, {1, 3}, {4, 8}, 0), "ERR_ARGUMENT");
}

TEST(rel_pos_of_every_pair) {
  struct Case {
    int64_t length, q, k;
  };
  // Equal sides with a table that fits, one to stretch and one to shrink; queries and keys of
  // different number.
  for (const Case c :
       {Case{27, 14, 14}, Case{27, 64, 64}, Case{127, 14, 14}, Case{1, 1, 1}, Case{3, 1, 1},
        Case{1, 5, 5}, Case{15, 8, 4}, Case{15, 4, 8}, Case{9, 16, 4}, Case{21, 3, 9}}) {
    constexpr int64_t d = 7;
    const Tensor table = random_tensor({c.length, d}, 1);
    const std::vector<float> rows = table.floats();
    const int64_t largest = std::max(c.q, c.k), resized = 2 * largest - 1;
    const double q_step = std::max(1.0, static_cast<double>(c.k) / static_cast<double>(c.q));
    const double k_step = std::max(1.0, static_cast<double>(c.q) / static_cast<double>(c.k));
    std::vector<double> want;
    for (int64_t i = 0; i < c.q; ++i)
      for (int64_t j = 0; j < c.k; ++j) {
        const double index =
            std::trunc(static_cast<double>(i) * q_step - static_cast<double>(j) * k_step +
                       static_cast<double>(c.k - 1) * k_step);
        const double source = std::max(
            0.0,
            (index + 0.5) * static_cast<double>(c.length) / static_cast<double>(resized) - 0.5);
        const size_t low = static_cast<size_t>(source);
        const size_t high = std::min(low + 1, static_cast<size_t>(c.length - 1));
        const double part = c.length == resized ? 0 : source - static_cast<double>(low);
        for (size_t e = 0; e < d; ++e)
          want.push_back((1 - part) * static_cast<double>(rows[low * d + e]) +
                         part * static_cast<double>(rows[high * d + e]));
      }
    const std::vector<float> got = Call("rel_pos")
                                       .constant("table", table)
                                       .attribute("q_size", static_cast<double>(c.q))
                                       .attribute("k_size", static_cast<double>(c.k))
                                       .result({c.q, c.k, d})
                                       .run();
    CHECK_CLOSE(got, want, 1e-5);  // positions in the table are float32, as in the reference
  }
}

TEST(rel_pos_rejects_wrong_shapes) {
  const auto error = [](const Dims& table, double q, double k, const Dims& result) {
    return Call("rel_pos")
        .constant("table", random_tensor(table, 1))
        .attribute("q_size", q)
        .attribute("k_size", k)
        .result(result)
        .error();
  };
  CHECK_EQ(error({7, 3}, 4, 4, {4, 4, 3}), "");
  CHECK_EQ(error({7, 3}, 4, 4, {4, 5, 3}), "ERR_SHAPE");
  CHECK_EQ(error({0, 3}, 4, 4, {4, 4, 3}), "ERR_SHAPE");
  CHECK_EQ(error({7}, 4, 4, {4, 4, 7}), "ERR_SHAPE");
  CHECK_EQ(error({7, 3}, 0, 4, {0, 4, 3}), "ERR_SHAPE");
}

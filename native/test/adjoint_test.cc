// The adjoints of linear ops, element by element: the forward op's matrix is read from its results
// for unit vectors, the adjoint must be its transpose times dy.
#include "harness.h"

using namespace hrsam::test;

namespace {

const int kTypes[] = {HRSAM_F32, HRSAM_BF16};

// `count` unit vectors, one per item of the leading axis.
Tensor units(int64_t count, const Dims& rest) {
  Dims dims{count};
  dims.insert(dims.end(), rest.begin(), rest.end());
  std::vector<float> values(static_cast<size_t>(count * count));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i)
    values[i * static_cast<size_t>(count) + i] = 1;
  return tensor<float>(dims, values);
}

// matrix (inputs, outputs) times dy (outputs, …) for every item of dy's leading axis and channel:
// dy (items, outputs, channels) -> (items, inputs, channels).
std::vector<double> applied(const std::vector<float>& matrix, const std::vector<float>& dy,
                            int64_t inputs, int64_t items, int64_t channels) {
  const int64_t outputs = static_cast<int64_t>(matrix.size()) / inputs;
  std::vector<double> out;
  for (int64_t item = 0; item < items; ++item)
    for (int64_t i = 0; i < inputs; ++i)
      for (int64_t c = 0; c < channels; ++c) {
        double sum = 0;
        for (int64_t o = 0; o < outputs; ++o)
          sum += static_cast<double>(matrix[static_cast<size_t>(i * outputs + o)]) *
                 static_cast<double>(dy[static_cast<size_t>((item * outputs + o) * channels + c)]);
        out.push_back(sum);
      }
  return out;
}

double tolerance(int dtype) { return dtype == HRSAM_F32 ? 1e-6 : 3e-3; }

std::vector<double> pair(int64_t a, int64_t b) {
  return {static_cast<double>(a), static_cast<double>(b)};
}

void check_resize(int64_t h, int64_t w, int64_t to_h, int64_t to_w, int64_t channels, int dtype) {
  const std::vector<float> matrix = Call("bilinear_resize")
                                        .input("x", units(h * w, {1, h, w}))
                                        .attribute("size", pair(to_h, to_w))
                                        .attribute("channels_last", 0)
                                        .result({h * w, 1, to_h, to_w})
                                        .run();
  const Tensor last = random_tensor({2, to_h, to_w, channels}, 3, dtype);
  CHECK_CLOSE(Call("bilinear_resize_gradient")
                  .input("dy", last)
                  .attribute("size", pair(h, w))
                  .attribute("channels_last", 1)
                  .result({2, h, w, channels}, dtype)
                  .run(),
              applied(matrix, last.floats(), h * w, 2, channels), tolerance(dtype));
  const Tensor first = random_tensor({2, 3, to_h, to_w}, 4, dtype);
  CHECK_CLOSE(Call("bilinear_resize_gradient")
                  .input("dy", first)
                  .attribute("size", pair(h, w))
                  .attribute("channels_last", 0)
                  .result({2, 3, h, w}, dtype)
                  .run(),
              applied(matrix, first.floats(), h * w, 6, 1), tolerance(dtype));
}

struct Patches {
  int64_t h, w, kernel, stride, padding;
};

void check_patches(const Patches& p, int64_t channels, bool last, int dtype) {
  const int64_t rows = (p.h + 2 * p.padding - p.kernel) / p.stride + 1;
  const int64_t columns = (p.w + 2 * p.padding - p.kernel) / p.stride + 1;
  const int64_t inputs = p.h * p.w * channels, patch = p.kernel * p.kernel * channels;
  const auto with = [&](const char* op) {
    return Call(op)
        .attribute("kernel", static_cast<double>(p.kernel))
        .attribute("stride", static_cast<double>(p.stride))
        .attribute("padding", static_cast<double>(p.padding))
        .attribute("channels_last", last ? 1 : 0);
  };
  const auto picture = [&](int64_t batch) {
    return last ? Dims{batch, p.h, p.w, channels} : Dims{batch, channels, p.h, p.w};
  };
  const Dims unit = picture(inputs);
  const std::vector<float> matrix = with("im2col")
                                        .input("x", units(inputs, {unit.begin() + 1, unit.end()}))
                                        .result({inputs, rows, columns, patch})
                                        .run();
  const Tensor dy = random_tensor({2, rows, columns, patch}, 3, dtype);
  CHECK_CLOSE(with("col2im")
                  .input("dy", dy)
                  .attribute("size", pair(p.h, p.w))
                  .result(picture(2), dtype)
                  .run(),
              applied(matrix, dy.floats(), inputs, 2, 1), tolerance(dtype));
}

}  // namespace

TEST(resize_up_down_and_not_at_all) {
  const int64_t sizes[][4] = {{1, 1, 1, 1},  {1, 1, 5, 3},  {5, 3, 1, 1},
                              {4, 5, 4, 5},  {4, 6, 8, 12}, {9, 7, 4, 3},
                              {7, 5, 3, 11}, {3, 4, 17, 2}, {13, 2, 5, 19}};
  for (const auto& [h, w, to_h, to_w] : sizes)
    for (const int dtype : kTypes) check_resize(h, w, to_h, to_w, 5, dtype);
}

TEST(resize_any_number_of_channels) {
  for (const int64_t channels : {1, 2, 15, 16, 17, 40})
    check_resize(5, 4, 7, 9, channels, HRSAM_F32);
}

TEST(resize_of_many_rows) { check_resize(16, 9, 200, 31, 20, HRSAM_F32); }

TEST(resize_of_nothing) {
  const auto resize = [](const Dims& dy, const Dims& result) {
    return Call("bilinear_resize_gradient")
        .input("dy", random_tensor(dy, 1))
        .attribute("size", pair(result[1], result[2]))
        .attribute("channels_last", 1)
        .result(result);
  };
  CHECK_EQ(resize({0, 4, 4, 3}, {0, 2, 2, 3}).run().size(), 0u);
  CHECK_MAX(resize({1, 0, 4, 1}, {1, 2, 2, 1}).run(), std::vector<float>(4), 0);
  CHECK_EQ(resize({1, 4, 4, 1}, {1, 0, 2, 1}).error(), "ERR_SHAPE");
}

TEST(resize_rejects_wrong_shapes) {
  const auto error = [](const Dims& dy, double last, const Dims& result, int dtype = HRSAM_F32) {
    return Call("bilinear_resize_gradient")
        .input("dy", random_tensor(dy, 1))
        .attribute("size", {2, 3})
        .attribute("channels_last", last)
        .result(result, dtype)
        .error();
  };
  CHECK_EQ(error({1, 4, 4, 5}, 1, {1, 2, 3, 5}), "");
  CHECK_EQ(error({1, 4, 4, 5}, 0, {1, 2, 3, 5}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 4, 5}, 1, {1, 3, 2, 5}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 4, 5}, 1, {1, 2, 3, 5}, HRSAM_BF16), "ERR_SHAPE");
  CHECK_EQ(error({4, 4, 5}, 1, {1, 2, 3, 5}), "ERR_SHAPE");
}

TEST(patches_of_every_kind) {
  const Patches kinds[] = {{4, 6, 2, 2, 0}, {5, 7, 2, 2, 0}, {5, 4, 3, 1, 1}, {6, 5, 3, 2, 1},
                           {4, 4, 4, 4, 0}, {3, 3, 5, 1, 2}, {7, 6, 2, 3, 0}, {1, 1, 1, 1, 0},
                           {4, 5, 3, 1, 4}, {6, 6, 4, 3, 2}};
  for (const Patches& p : kinds)
    for (const bool last : {false, true})
      for (const int dtype : kTypes) check_patches(p, 3, last, dtype);
}

TEST(patches_of_any_number_of_channels) {
  for (const int64_t channels : {1, 8, 17})
    check_patches({4, 5, 3, 1, 1}, channels, true, HRSAM_F32);
}

TEST(patches_reject_wrong_shapes) {
  const auto error = [](const Dims& dy, std::vector<double> size, double kernel,
                        const Dims& result) {
    return Call("col2im")
        .input("dy", random_tensor(dy, 1))
        .attribute("size", std::move(size))
        .attribute("kernel", kernel)
        .attribute("stride", 2)
        .attribute("padding", 0)
        .attribute("channels_last", 1)
        .result(result)
        .error();
  };
  CHECK_EQ(error({1, 2, 3, 12}, {4, 6}, 2, {1, 4, 6, 3}), "");
  CHECK_EQ(error({1, 2, 3, 12}, {6, 4}, 2, {1, 6, 4, 3}), "ERR_SHAPE");
  CHECK_EQ(error({1, 2, 3, 11}, {4, 6}, 2, {1, 4, 6, 2}), "ERR_SHAPE");
  CHECK_EQ(error({1, 2, 3, 12}, {4, 6}, 0, {1, 4, 6, 3}), "ERR_SHAPE");
  CHECK_EQ(error({1, 2, 3, 12}, {1, 1}, 2, {1, 1, 1, 3}), "ERR_SHAPE");
  CHECK_EQ(error({1, 2, 3, 12}, {4}, 2, {1, 4, 6, 3}), "ERR_ARGUMENT");
}

TEST(relative_positions) {
  const int64_t sizes[][3] = {{7, 4, 4}, {1, 1, 1},  {27, 5, 5}, {5, 8, 8},
                              {9, 5, 3}, {11, 2, 6}, {40, 7, 9}, {1, 3, 3}};
  for (const auto& [length, q, k] : sizes)
    for (const int64_t width : {1, 16, 21}) {
      const std::vector<float> rows = Call("rel_pos")
                                          .input("table", units(length, {length}))
                                          .attribute("q_size", static_cast<double>(q))
                                          .attribute("k_size", static_cast<double>(k))
                                          .result({q, k, length})
                                          .run();
      std::vector<float> matrix(rows.size());  // (length, pairs)
      for (int64_t i = 0; i < q * k * length; ++i)
        matrix[static_cast<size_t>(i % length * q * k + i / length)] = rows[static_cast<size_t>(i)];
      const Tensor dy = random_tensor({q, k, width}, 3);
      CHECK_CLOSE(Call("rel_pos_gradient")
                      .input("dy", dy)
                      .attribute("length", static_cast<double>(length))
                      .result({length, width})
                      .run(),
                  applied(matrix, dy.floats(), length, 1, width), 1e-6);
    }
}

TEST(relative_positions_reject_wrong_shapes) {
  const auto error = [](const Dims& dy, double length, const Dims& result) {
    return Call("rel_pos_gradient")
        .input("dy", random_tensor(dy, 1))
        .attribute("length", length)
        .result(result)
        .error();
  };
  CHECK_EQ(error({4, 4, 3}, 7, {7, 3}), "");
  CHECK_EQ(error({4, 4, 3}, 7, {6, 3}), "ERR_SHAPE");
  CHECK_EQ(error({4, 4, 3}, 0, {0, 3}), "ERR_SHAPE");
  CHECK_EQ(error({0, 4, 3}, 7, {7, 3}), "ERR_SHAPE");
  CHECK_EQ(error({4, 3}, 7, {7, 3}), "ERR_SHAPE");
}

TEST(padding_along_any_axis) {
  const Tensor x = random_tensor({3, 4, 5}, 1, HRSAM_I32);
  const std::vector<float> values = x.floats();
  for (int axis = 0; axis < 3; ++axis)
    for (const int64_t start : {0, 1, 4}) {
      Dims dims = x.dims;
      dims[static_cast<size_t>(axis)] += 5;
      std::vector<float> want;
      for (int64_t i = 0; i < elements_of(dims); ++i) {
        int64_t at[] = {i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]};
        at[axis] -= start;
        const bool inside = at[axis] >= 0 && at[axis] < x.dims[static_cast<size_t>(axis)];
        want.push_back(inside ? values[static_cast<size_t>((at[0] * 4 + at[1]) * 5 + at[2])] : 0);
      }
      CHECK_MAX(Call("pad")
                    .input("x", x)
                    .attribute("axis", axis)
                    .attribute("start", static_cast<double>(start))
                    .attribute("size", static_cast<double>(dims[static_cast<size_t>(axis)]))
                    .result(dims, HRSAM_I32)
                    .run(),
                want, 0);
    }
}

TEST(padding_of_long_runs_and_of_nothing) {
  const auto pad = [](const Dims& from, double start, const Dims& to, int dtype) {
    return Call("pad")
        .input("x", random_tensor(from, 1, dtype))
        .attribute("axis", 1)
        .attribute("start", start)
        .attribute("size", static_cast<double>(to[1]))
        .result(to, dtype)
        .run();
  };
  const std::vector<float> x = random_tensor({2, 100001}, 1, HRSAM_BF16).floats();
  const std::vector<float> padded = pad({2, 100001}, 70000, {2, 250000}, HRSAM_BF16);
  std::vector<float> want(500000);
  for (size_t i = 0; i < x.size(); ++i) want[i / 100001 * 250000 + 70000 + i % 100001] = x[i];
  CHECK_MAX(padded, want, 0);
  CHECK_MAX(pad({2, 0}, 1, {2, 3}, HRSAM_F32), std::vector<float>(6), 0);
}

TEST(padding_rejects_what_does_not_fit) {
  const auto error = [](double axis, double start, double size, const Dims& result) {
    return Call("pad")
        .input("x", random_tensor({2, 4}, 1))
        .attribute("axis", axis)
        .attribute("start", start)
        .attribute("size", size)
        .result(result)
        .error();
  };
  CHECK_EQ(error(1, 2, 6, {2, 6}), "");
  CHECK_EQ(error(1, 3, 6, {2, 6}), "ERR_SHAPE");
  CHECK_EQ(error(1, -1, 6, {2, 6}), "ERR_SHAPE");
  CHECK_EQ(error(2, 0, 6, {2, 6}), "ERR_SHAPE");
  CHECK_EQ(error(1, 2, 6, {2, 7}), "ERR_SHAPE");
}

// concat, slice, permute, depth_to_space and im2col against loops over indices.
#include "harness.h"

using namespace hrsam::test;

namespace {

constexpr int kDtypes[] = {HRSAM_F32, HRSAM_BF16, HRSAM_I32, HRSAM_U8};

// Position of an index in a row-major tensor.
int64_t offset(const Dims& dims, const Dims& index) {
  int64_t at = 0;
  for (size_t i = 0; i < dims.size(); ++i) at = at * dims[i] + index[i];
  return at;
}

// Calls f with every index of a tensor, in order.
template <class F>
void every_index(const Dims& dims, F&& f) {
  Dims index(dims.size(), 0);
  for (int64_t n = elements_of(dims); n > 0; --n) {
    f(index);
    for (size_t i = dims.size(); i-- > 0;) {
      if (++index[i] < dims[i]) break;
      index[i] = 0;
    }
  }
}

void check_permute(const Dims& dims, const std::vector<double>& order, int dtype) {
  const Tensor x = random_tensor(dims, 1, dtype);
  Dims result;
  for (const double axis : order) result.push_back(dims[static_cast<size_t>(axis)]);
  const std::vector<float> from = x.floats();
  std::vector<float> want;
  every_index(result, [&](const Dims& index) {
    Dims source(dims.size());
    for (size_t i = 0; i < dims.size(); ++i) source[static_cast<size_t>(order[i])] = index[i];
    want.push_back(from[static_cast<size_t>(offset(dims, source))]);
  });
  CHECK_MAX(Call("permute").input("x", x).attribute("order", order).result(result, dtype).run(),
            want, 0);
}

void check_im2col(const Dims& nhwc, int64_t kernel, int64_t stride, int64_t padding, bool last,
                  int dtype) {
  const int64_t b = nhwc[0], h = nhwc[1], w = nhwc[2], c = nhwc[3];
  const int64_t rows = (h + 2 * padding - kernel) / stride + 1;
  const int64_t columns = (w + 2 * padding - kernel) / stride + 1;
  const Dims dims = last ? nhwc : Dims{b, c, h, w};
  const Tensor x = random_tensor(dims, 2, dtype);
  const std::vector<float> from = x.floats();
  const Dims result{b, rows, columns, kernel * kernel * c};
  std::vector<float> want(static_cast<size_t>(elements_of(result)));
  every_index({b, rows, columns, kernel, kernel, c}, [&](const Dims& at) {
    const int64_t y = at[1] * stride - padding + at[3], z = at[2] * stride - padding + at[4];
    const int64_t k =
        last ? (at[3] * kernel + at[4]) * c + at[5] : (at[5] * kernel + at[3]) * kernel + at[4];
    float value = 0;
    if (y >= 0 && y < h && z >= 0 && z < w)
      value = from[static_cast<size_t>(
          offset(dims, last ? Dims{at[0], y, z, at[5]} : Dims{at[0], at[5], y, z}))];
    want[static_cast<size_t>(offset(result, {at[0], at[1], at[2], k}))] = value;
  });
  const std::vector<float> got = Call("im2col")
                                     .input("x", x)
                                     .attribute("kernel", static_cast<double>(kernel))
                                     .attribute("stride", static_cast<double>(stride))
                                     .attribute("padding", static_cast<double>(padding))
                                     .attribute("channels_last", last)
                                     .result(result, dtype)
                                     .run();
  CHECK_MAX(got, want, 0);
}

}  // namespace

TEST(concat_joins_along_every_axis) {
  for (const int dtype : kDtypes) {
    const Dims shape{3, 2, 5};
    for (size_t axis = 0; axis < 3; ++axis) {
      Call call("concat");
      call.attribute("axis", static_cast<double>(axis));
      Dims result = shape;
      result[axis] = 0;
      std::vector<std::vector<float>> parts;
      std::vector<Dims> shapes;
      const char* names[] = {"x0", "x1", "x2", "x3"};
      for (uint32_t i = 0; i < 4; ++i) {
        Dims dims = shape;
        dims[axis] = i == 2 ? 0 : 1 + i;  // one of them is empty
        const Tensor part = random_tensor(dims, i, dtype);
        call.input(names[i], part);
        parts.push_back(part.floats());
        shapes.push_back(dims);
        result[axis] += dims[axis];
      }
      std::vector<float> want;
      every_index(result, [&](Dims index) {
        size_t part = 0;
        while (index[axis] >= shapes[part][axis]) index[axis] -= shapes[part++][axis];
        want.push_back(parts[part][static_cast<size_t>(offset(shapes[part], index))]);
      });
      CHECK_MAX(call.result(result, dtype).run(), want, 0);
    }
  }
}

TEST(concat_of_long_runs_is_cut_into_pieces) {
  const Tensor a = random_tensor({100001}, 1), b = random_tensor({70000}, 2);
  std::vector<float> want = a.floats();
  for (const float value : b.floats()) want.push_back(value);
  CHECK_MAX(
      Call("concat").input("x0", a).constant("x1", b).attribute("axis", 0.0).result({170001}).run(),
      want, 0);
}

TEST(concat_rejects_parts_that_do_not_fit) {
  const Tensor a = random_tensor({2, 3}, 1), b = random_tensor({2, 4}, 2);
  CHECK_EQ(
      Call("concat").input("x0", a).input("x1", b).attribute("axis", 0.0).result({4, 3}).error(),
      "ERR_SHAPE");
  CHECK_EQ(
      Call("concat").input("x0", a).input("x1", b).attribute("axis", 1.0).result({2, 8}).error(),
      "ERR_SHAPE");
  CHECK_EQ(Call("concat").input("x0", a).attribute("axis", 2.0).result({2, 3}).error(),
           "ERR_SHAPE");
  CHECK_EQ(Call("concat").input("x0", a).attribute("axis", 1.0).result({2, 3}, HRSAM_BF16).error(),
           "ERR_SHAPE");
}

TEST(slice_takes_any_part_of_any_axis) {
  for (const int dtype : kDtypes) {
    const Dims dims{4, 3, 7};
    const Tensor x = random_tensor(dims, 3, dtype);
    const std::vector<float> from = x.floats();
    for (size_t axis = 0; axis < 3; ++axis) {
      for (int64_t start = 0; start <= dims[axis]; ++start) {
        for (int64_t end = start; end <= dims[axis]; ++end) {
          Dims result = dims;
          result[axis] = end - start;
          std::vector<float> want;
          every_index(result, [&](Dims index) {
            index[axis] += start;
            want.push_back(from[static_cast<size_t>(offset(dims, index))]);
          });
          const std::vector<float> got = Call("slice")
                                             .input("x", x)
                                             .attribute("axis", static_cast<double>(axis))
                                             .attribute("start", static_cast<double>(start))
                                             .attribute("end", static_cast<double>(end))
                                             .result(result, dtype)
                                             .run();
          CHECK_MAX(got, want, 0);
        }
      }
    }
  }
}

TEST(slice_rejects_what_lies_outside) {
  const Tensor x = random_tensor({4, 5}, 1);
  const auto error = [&](double axis, double start, double end, const Dims& result) {
    return Call("slice")
        .input("x", x)
        .attribute("axis", axis)
        .attribute("start", start)
        .attribute("end", end)
        .result(result)
        .error();
  };
  CHECK_EQ(error(1, 0, 5, {4, 5}), "");
  CHECK_EQ(error(1, 2, 6, {4, 4}), "ERR_SHAPE");
  CHECK_EQ(error(1, -1, 2, {4, 3}), "ERR_SHAPE");
  CHECK_EQ(error(1, 3, 2, {4, 0}), "ERR_SHAPE");
  CHECK_EQ(error(2, 0, 1, {4, 1}), "ERR_SHAPE");
  CHECK_EQ(error(0, 0, 2, {3, 5}), "ERR_SHAPE");
}

TEST(permute_any_order) {
  for (const int dtype : kDtypes) {
    check_permute({}, {}, dtype);
    check_permute({5}, {0}, dtype);
    check_permute({3, 4, 5}, {0, 1, 2}, dtype);
    check_permute({3, 4, 5}, {0, 2, 1}, dtype);
    check_permute({3, 4, 5}, {1, 0, 2}, dtype);
    check_permute({3, 4, 5}, {1, 2, 0}, dtype);
    check_permute({3, 4, 5}, {2, 0, 1}, dtype);
    check_permute({3, 4, 5}, {2, 1, 0}, dtype);
    check_permute({2, 3, 4, 5}, {3, 1, 0, 2}, dtype);
    check_permute({2, 3, 1, 5, 2, 3}, {5, 2, 4, 0, 3, 1}, dtype);
    check_permute({2, 0, 3}, {2, 1, 0}, dtype);
    check_permute({1, 7, 1}, {2, 1, 0}, dtype);
  }
}

TEST(permute_planes_of_every_size_around_a_tile) {
  for (const int dtype : kDtypes) {
    for (const int64_t rows : {1, 3, 4, 15, 16, 17, 63, 64, 65, 130})
      for (const int64_t columns : {1, 4, 7, 16, 31, 64, 67, 129})
        check_permute({2, rows, columns}, {0, 2, 1}, dtype);
  }
}

TEST(permute_between_channels_last_and_first) {
  check_permute({2, 9, 33, 70}, {0, 3, 1, 2}, HRSAM_F32);
  check_permute({2, 70, 9, 33}, {0, 2, 3, 1}, HRSAM_BF16);
}

TEST(permute_rejects_what_is_no_permutation) {
  const Tensor x = random_tensor({2, 3}, 1);
  CHECK_EQ(Call("permute").input("x", x).attribute("order", {0, 0}).result({2, 2}).error(),
           "ERR_ARGUMENT");
  CHECK_EQ(Call("permute").input("x", x).attribute("order", {0, 2}).result({2, 3}).error(),
           "ERR_ARGUMENT");
  CHECK_EQ(Call("permute").input("x", x).attribute("order", {1, -1}).result({3, 2}).error(),
           "ERR_ARGUMENT");
  CHECK_EQ(Call("permute").input("x", x).attribute("order", {1, NAN}).result({3, 2}).error(),
           "ERR_ARGUMENT");
  CHECK_EQ(Call("permute").input("x", x).attribute("order", {1}).result({3, 2}).error(),
           "ERR_ARGUMENT");
  CHECK_EQ(Call("permute").input("x", x).attribute("order", {1, 0}).result({2, 3}).error(),
           "ERR_SHAPE");
}

TEST(depth_to_space_spreads_blocks) {
  for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
    for (const int64_t block : {1, 2, 3}) {
      for (const int64_t channels : {1, 5, 32}) {
        const Dims dims{2, 3, 4, block * block * channels};
        const Tensor x = random_tensor(dims, 4, dtype);
        const std::vector<float> from = x.floats();
        const Dims result{2, 3 * block, 4 * block, channels};
        std::vector<float> want;
        every_index(result, [&](const Dims& at) {
          const int64_t depth = (at[1] % block * block + at[2] % block) * channels + at[3];
          want.push_back(from[static_cast<size_t>(
              offset(dims, {at[0], at[1] / block, at[2] / block, depth}))]);
        });
        const std::vector<float> got = Call("depth_to_space")
                                           .input("x", x)
                                           .attribute("block", static_cast<double>(block))
                                           .result(result, dtype)
                                           .run();
        CHECK_MAX(got, want, 0);
      }
    }
  }
  const Tensor x = random_tensor({1, 2, 2, 6}, 1);
  CHECK_EQ(
      Call("depth_to_space").input("x", x).attribute("block", 2.0).result({1, 4, 4, 1}).error(),
      "ERR_SHAPE");
  CHECK_EQ(
      Call("depth_to_space").input("x", x).attribute("block", 0.0).result({1, 2, 2, 6}).error(),
      "ERR_SHAPE");
}

TEST(im2col_gathers_patches) {
  for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
    for (const bool last : {false, true}) {
      check_im2col({2, 6, 10, 3}, 1, 1, 0, last, dtype);
      check_im2col({2, 6, 10, 3}, 2, 2, 0, last, dtype);
      check_im2col({1, 48, 160, 3}, 16, 16, 0, last, dtype);  // a patch embedding
      check_im2col({2, 9, 13, 5}, 3, 1, 1, last, dtype);      // a neck's convolution
      check_im2col({2, 5, 8, 16}, 3, 1, 1, last, dtype);
      check_im2col({1, 16, 24, 2}, 8, 8, 8, last, dtype);
      check_im2col({1, 1, 1, 1}, 3, 1, 1, last, dtype);
      check_im2col({1, 2, 3, 4}, 5, 2, 3, last, dtype);  // taller and wider than x
      check_im2col({1, 7, 11, 2}, 3, 4, 0, last, dtype);
      check_im2col({1, 3, 3, 1}, 3, 1, 5, last, dtype);  // patches that see only padding
    }
  }
}

TEST(im2col_rejects_wrong_shapes) {
  const auto error = [](const Dims& dims, double kernel, double stride, double padding,
                        const Dims& result) {
    return Call("im2col")
        .input("x", random_tensor(dims, 1))
        .attribute("kernel", kernel)
        .attribute("stride", stride)
        .attribute("padding", padding)
        .attribute("channels_last", 1.0)
        .result(result)
        .error();
  };
  CHECK_EQ(error({1, 4, 4, 2}, 2, 2, 0, {1, 2, 2, 8}), "");
  CHECK_EQ(error({1, 4, 4, 2}, 2, 2, 0, {1, 2, 3, 8}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 4, 2}, 5, 1, 0, {1, 0, 0, 50}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 4, 2}, 2, 0, 0, {1, 2, 2, 8}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 4, 2}, 2, 2, -1, {1, 1, 1, 8}), "ERR_SHAPE");
  CHECK_EQ(error({4, 4, 2}, 2, 2, 0, {1, 2, 2, 8}), "ERR_SHAPE");
  CHECK_EQ(error({1, 4, 4, 2}, 0.5, 2, 0, {1, 2, 2, 8}), "ERR_INTERNAL");
}

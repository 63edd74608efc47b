// add, scale_samples, cast and activation against loops over elements.
#include "activation.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

constexpr int64_t kLengths[] = {0, 1, 7, 8, 15, 16, 17, 31, 33, 100003};

void check_add(const Dims& a_dims, const Dims& b_dims, int a_dtype, int b_dtype, int dtype) {
  const Tensor a = random_tensor(a_dims, 1, a_dtype), b = random_tensor(b_dims, 2, b_dtype);
  const std::vector<float> x = a.floats(), y = b.floats();
  std::vector<float> want;
  for (int64_t at = 0; at < elements_of(a_dims); ++at) {
    int64_t rest = at, from = 0, stride = 1;
    for (size_t i = 1; i <= a_dims.size(); ++i) {
      const int64_t index = rest % a_dims[a_dims.size() - i];
      rest /= a_dims[a_dims.size() - i];
      if (i > b_dims.size()) continue;
      const int64_t size = b_dims[b_dims.size() - i];
      if (size != 1) from += index * stride;
      stride *= size;
    }
    const float sum = x[static_cast<size_t>(at)] + y[static_cast<size_t>(from)];
    want.push_back(dtype == HRSAM_BF16 ? rounded_bf16(sum) : sum);
  }
  CHECK_MAX(Call("add").input("a", a).constant("b", b).result(a_dims, dtype).run(), want, 0);
  if (dtype == a_dtype && !x.empty())
    CHECK_MAX(Call("add").in_place("a", a).input("b", b).result(a_dims, dtype).run(), want, 0);
}

}  // namespace

TEST(add_same_shape) {
  for (const int64_t n : kLengths) check_add({n}, {n}, HRSAM_F32, HRSAM_F32, HRSAM_F32);
}

TEST(add_broadcasts) {
  const int f = HRSAM_F32;
  check_add({}, {}, f, f, f);
  check_add({3, 4}, {}, f, f, f);
  check_add({3, 1, 19}, {19}, f, f, f);        // a vector along the last axis
  check_add({3, 5, 19}, {1, 5, 19}, f, f, f);  // over the batch: position embeddings
  check_add({3, 5, 19}, {5, 19}, f, f, f);
  check_add({3, 5, 19}, {3, 1, 1}, f, f, f);  // a number per item
  check_add({3, 5, 19}, {3, 5, 1}, f, f, f);
  check_add({3, 5, 19}, {1, 5, 1}, f, f, f);
  check_add({3, 5, 19}, {3, 1, 19}, f, f, f);
  check_add({2, 3, 2, 3, 2, 3}, {2, 1, 2, 1, 2, 1}, f, f, f);
  check_add({2, 3, 2, 3, 2, 3}, {3, 1, 3, 1, 3}, f, f, f);
  check_add({2, 40000}, {1, 40000}, f, f, f);  // longer than a task
  check_add({2, 0, 3}, {3}, f, f, f);
}

TEST(add_all_types) {
  for (const int a : {HRSAM_F32, HRSAM_BF16})
    for (const int b : {HRSAM_F32, HRSAM_BF16})
      for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
        check_add({3, 37}, {37}, a, b, dtype);
        check_add({3, 37}, {3, 1}, a, b, dtype);
      }
}

TEST(add_rejects_what_does_not_broadcast) {
  const Tensor a = random_tensor({2, 3}, 1);
  const auto error = [&](const Dims& b, const Dims& result) {
    return Call("add").input("a", a).input("b", random_tensor(b, 2)).result(result).error();
  };
  CHECK_EQ(error({1, 2, 3}, {2, 3}), "");
  CHECK_EQ(error({2, 2, 3}, {2, 3}), "ERR_SHAPE");
  CHECK_EQ(error({2}, {2, 3}), "ERR_SHAPE");
  CHECK_EQ(error({0}, {2, 3}), "ERR_SHAPE");
  CHECK_EQ(error({3}, {3, 2}), "ERR_SHAPE");
  CHECK_EQ(
      Call("add").input("a", a).input("b", random_tensor({3}, 1, HRSAM_I32)).result({2, 3}).error(),
      "ERR_SHAPE");
}

TEST(scale_samples_of_all_types) {
  const Tensor scale = tensor<float>({3}, {1.25f, 0, -3});
  for (const int x_type : {HRSAM_F32, HRSAM_BF16})
    for (const int dtype : {HRSAM_F32, HRSAM_BF16})
      for (const int64_t n : kLengths) {
        const Tensor x = random_tensor({3, n}, 1, x_type);
        std::vector<float> want = x.floats();
        for (size_t i = 0; i < want.size(); ++i) {
          want[i] *= scale.floats()[i / static_cast<size_t>(n)];
          if (dtype == HRSAM_BF16) want[i] = rounded_bf16(want[i]);
        }
        const auto call = [&] { return Call("scale_samples").input("scale", scale); };
        CHECK_MAX(call().input("x", x).result({3, n}, dtype).run(), want, 0);
        if (dtype == x_type && n > 0)
          CHECK_MAX(call().in_place("x", x).result({3, n}, dtype).run(), want, 0);
      }
}

TEST(scale_samples_rejects_other_shapes) {
  const auto error = [](const Dims& x, const Dims& scale, const Dims& result, int type) {
    return Call("scale_samples")
        .input("x", random_tensor(x, 1))
        .input("scale", random_tensor(scale, 2, type))
        .result(result)
        .error();
  };
  CHECK_EQ(error({2, 3}, {2}, {2, 3}, HRSAM_F32), "");
  CHECK_EQ(error({2, 3}, {3}, {2, 3}, HRSAM_F32), "ERR_SHAPE");
  CHECK_EQ(error({2, 3}, {2, 1}, {2, 3}, HRSAM_F32), "ERR_SHAPE");
  CHECK_EQ(error({2, 3}, {2}, {3, 2}, HRSAM_F32), "ERR_SHAPE");
  CHECK_EQ(error({2, 3}, {2}, {2, 3}, HRSAM_BF16), "ERR_SHAPE");
  CHECK_EQ(error({}, {1}, {}, HRSAM_F32), "ERR_SHAPE");
}

TEST(cast_rounds_to_nearest_even) {
  for (const int64_t n : kLengths) {
    const Tensor x = random_tensor({n}, 5);
    std::vector<float> want = x.floats();
    for (float& value : want) value = rounded_bf16(value);
    CHECK_MAX(Call("cast").input("x", x).result({n}, HRSAM_BF16).run(), want, 0);
    const Tensor half = random_tensor({n}, 6, HRSAM_BF16);
    CHECK_MAX(Call("cast").input("x", half).result({n}).run(), half.floats(), 0);
  }
  // Ties, the largest finite number and what rounds to infinity.
  const std::vector<float> edges{1 + 1.0f / 256, 1 + 3.0f / 256, -(1 + 1.0f / 256), 0,
                                 -0.0f,          3.3895314e38f,  3.4e38f,           INFINITY,
                                 -INFINITY,      1.1754944e-38f};
  const std::vector<float> got =
      Call("cast").input("x", tensor({10}, edges)).result({10}, HRSAM_BF16).run();
  for (size_t i = 0; i < edges.size(); ++i) CHECK_EQ(got[i], rounded_bf16(edges[i]));
  for (const int64_t n : {1, 16, 21}) {
    const std::vector<float> nan(static_cast<size_t>(n), NAN);
    for (const float value :
         Call("cast").input("x", tensor({n}, nan)).result({n}, HRSAM_BF16).run())
      CHECK(std::isnan(value));
  }
}

TEST(cast_to_the_same_type_copies_every_byte) {
  for (const int type : {HRSAM_F32, HRSAM_BF16, HRSAM_I32, HRSAM_U8}) {
    Tensor x = random_tensor({1021}, 7, type);
    // NaNs with a payload, numbers too small to be normal, and all else.
    for (size_t i = 0; i < x.bytes.size(); ++i) x.bytes[i] = static_cast<uint8_t>(i * 37 + i / 256);
    CHECK(Call("cast").input("x", x).result({1021}, type).run_tensor().bytes == x.bytes);
  }
}

TEST(cast_rejects_integers) {
  CHECK_EQ(Call("cast").input("x", random_tensor({2}, 1, HRSAM_U8)).result({2}).error(),
           "ERR_SHAPE");
  CHECK_EQ(Call("cast").input("x", random_tensor({2}, 1)).result({2}, HRSAM_I32).error(),
           "ERR_SHAPE");
  CHECK_EQ(Call("cast").input("x", random_tensor({2}, 1)).result({3}, HRSAM_BF16).error(),
           "ERR_SHAPE");
}

TEST(activation_of_every_element) {
  for (int kind = 0; kind <= 4; ++kind) {
    for (const int64_t n : kLengths) {
      for (const int from : {HRSAM_F32, HRSAM_BF16}) {
        for (const int to : {HRSAM_F32, HRSAM_BF16}) {
          if (n > 100 && from != to) continue;
          const Tensor x = random_tensor({n}, 7, from, 3);
          std::vector<double> want;
          for (const float value : x.floats()) want.push_back(activated(value, kind));
          const std::vector<float> got =
              Call("activation").input("x", x).attribute("activation", kind).result({n}, to).run();
          CHECK_CLOSE(got, want, to == HRSAM_BF16 ? 4e-3 : 1e-6);
        }
      }
    }
  }
}

TEST(activation_of_nan) {
  for (const int type : {HRSAM_F32, HRSAM_BF16})
    for (int kind = 0; kind <= 4; ++kind) {
      const Tensor x = tensor<float>({3}, std::vector<float>{1, NAN, 2}, type);
      const std::vector<float> y =
          Call("activation").input("x", x).attribute("activation", kind).result({3}, type).run();
      CHECK(!std::isnan(y[0]) && std::isnan(y[1]) && !std::isnan(y[2]));
    }
}

TEST(activation_of_extreme_numbers) {
  const std::vector<float> x{-INFINITY, -1e30f, -200, -90, 0, 90, 200, 1e30f, INFINITY};
  const Tensor input = tensor({9}, x);
  const std::vector<float> relu{0, 0, 0, 0, 0, 90, 200, 1e30f, INFINITY};
  const auto run = [&](int kind) {
    return Call("activation").input("x", input).attribute("activation", kind).result({9}).run();
  };
  const std::vector<float> gelu = run(1), silu = run(2), sigmoid = run(4);
  CHECK_MAX(run(3), relu, 0);
  for (size_t i = 0; i < x.size(); ++i) {
    CHECK(std::fabs(sigmoid[i] - (x[i] < 0 ? 0 : x[i] > 0 ? 1 : 0.5f)) < 1e-30f);
    if (std::isinf(x[i])) continue;
    CHECK_LE(std::fabs(gelu[i] - relu[i]), 2e-7f * std::max(1.0f, std::fabs(x[i])));
    CHECK_LE(std::fabs(silu[i] - relu[i]), 2e-7f * std::max(1.0f, std::fabs(x[i])));
  }
  CHECK_EQ(gelu.back(), INFINITY);
  CHECK_EQ(silu.back(), INFINITY);
  CHECK_EQ(Call("activation").input("x", input).attribute("activation", 5.0).result({9}).error(),
           "ERR_ARGUMENT");
}

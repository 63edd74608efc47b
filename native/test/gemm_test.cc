// linear and matmul, and through them the packed matrix product, against loops in double precision.
#include <cstring>
#include <iostream>
#include <random>

#include "activation.h"
#include "harness.h"

using namespace hrsam::test;

namespace {

// residual + activation(x·weightᵀ + bias) with everything optional.
struct Linear {
  Linear(int64_t m, int64_t n, int64_t k, int x_dtype = HRSAM_F32, int weight_dtype = HRSAM_F32)
      : x(random_tensor({m, k}, 1, x_dtype)),
        weight(random_tensor({n, k}, 2, weight_dtype, 1 / std::sqrt(static_cast<double>(k)))),
        dtype(x_dtype) {}

  int64_t m() const { return x.dims[0]; }
  int64_t n() const { return weight.dims[0]; }
  int64_t k() const { return x.dims[1]; }

  Linear& with_bias() {
    bias = random_tensor({n()}, 3);
    return *this;
  }
  Linear& with_residual(int64_t rows, int residual_dtype) {
    residual = random_tensor({rows, n()}, 4, residual_dtype);
    return *this;
  }

  Call call() const {
    Call made("linear");
    made.input("x", x);
    constant_weight ? made.constant("weight", weight) : made.input("weight", weight);
    if (!bias.dims.empty()) made.constant("bias", bias);
    if (!residual.dims.empty())
      in_place ? made.in_place("residual", residual) : made.input("residual", residual);
    return made.attribute("activation", activation)
        .attribute("transposed", 0)
        .result({m(), n()}, dtype);
  }

  // The same product of the weight turned in memory.
  Call transposed() const {
    const auto bytes = static_cast<size_t>(weight.dtype == HRSAM_BF16 ? 2 : 4);
    Tensor turned{weight.dtype, {k(), n()}, weight.bytes};
    for (size_t i = 0; i < weight.bytes.size(); i += bytes) {
      const auto row = i / bytes / static_cast<size_t>(k()),
                 column = i / bytes % static_cast<size_t>(k());
      std::memcpy(&turned.bytes[(column * static_cast<size_t>(n()) + row) * bytes],
                  &weight.bytes[i], bytes);
    }
    return Call("linear")
        .input("x", x)
        .input("weight", turned)
        .attribute("activation", 0)
        .attribute("transposed", 1)
        .result({m(), n()}, dtype);
  }

  std::vector<double> expected() const {
    const std::vector<float> a = x.floats(), w = weight.floats(), b = bias.floats(),
                             r = residual.floats();
    const auto columns = static_cast<size_t>(n()), depth = static_cast<size_t>(k());
    std::vector<double> out(static_cast<size_t>(m()) * columns);
    for (size_t at = 0; at < out.size(); ++at) {
      const size_t i = at / columns, j = at % columns;
      double sum = bias.dims.empty() ? 0 : b[j];
      for (size_t l = 0; l < depth; ++l)
        sum += static_cast<double>(a[i * depth + l]) * static_cast<double>(w[j * depth + l]);
      out[at] = activated(sum, activation);
      if (!residual.dims.empty()) out[at] += r[at % r.size()];
    }
    return out;
  }

  void check() const {
    // A bf16 x rounds f32 weights to bf16 where the processor multiplies bf16.
    const bool rounds = dtype == HRSAM_BF16 || (x.dtype == HRSAM_BF16 && weight.dtype == HRSAM_F32);
    const std::vector<float> got = call().run();
    const int before = failures();
    // Tensor cores cut sums off instead of rounding them, each 16 of k anew.
    const bool cuts = x.dtype == HRSAM_BF16 && is_cuda();
    const double exact = cuts ? std::max(2e-6, 1.5e-9 * static_cast<double>(k())) : 2e-6;
    CHECK_CLOSE(got, expected(), rounds ? 4e-3 : exact);
    if (failures() != before)
      std::cerr << "  m " << m() << ", n " << n() << ", k " << k() << ", x " << x.dtype
                << ", weight " << weight.dtype << ", result " << dtype << ", activation "
                << activation << ", residual rows "
                << (residual.dims.empty() ? 0 : residual.dims[0]) << std::endl;
  }

  Tensor x, weight, bias, residual;
  int activation = 0, dtype;
  bool constant_weight = true, in_place = false;
};

void check_matmul(int64_t batches, int64_t b_batches, int64_t m, int64_t n, int64_t k) {
  const Tensor a = random_tensor({batches, m, k}, 1), b = random_tensor({b_batches, n, k}, 2);
  const std::vector<float> x = a.floats(), y = b.floats();
  std::vector<double> want;
  for (int64_t at = 0; at < batches * m * n; ++at) {
    const int64_t batch = at / (m * n), row = at / n;
    const int64_t column = (b_batches == 1 ? 0 : batch * n) + at % n;
    double sum = 0;
    for (int64_t i = 0; i < k; ++i)
      sum += static_cast<double>(x[static_cast<size_t>(row * k + i)]) *
             static_cast<double>(y[static_cast<size_t>(column * k + i)]);
    want.push_back(sum);
  }
  CHECK_CLOSE(Call("matmul").input("a", a).input("b", b).result({batches, m, n}).run(), want, 1e-6);
}

}  // namespace

TEST(every_edge_of_a_tile) {
  for (int64_t m = 1; m <= 17; ++m)
    for (const int64_t n : {1, 3, 4, 8, 15, 16, 17, 32, 33, 48, 49, 64, 81}) {
      Linear(m, n, 5).check();
      Linear(m, n, 5, HRSAM_BF16, HRSAM_BF16).check();
    }
}

TEST(every_depth) {
  for (const int64_t k :
       {1, 2, 3, 4, 7, 8, 63, 64, 255, 767, 768, 769, 1535, 1536, 1537, 3071, 3072})
    for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
      Linear(9, 50, k, dtype, dtype).check();
      Linear f32_result(9, 50, k, dtype, dtype);
      f32_result.dtype = HRSAM_F32;
      f32_result.check();
    }
}

TEST(more_than_one_task_of_rows_and_columns) {
  for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
    Linear(300, 400, 70, dtype, dtype).check();
    Linear(131, 130, 1600, dtype, dtype).check();
    Linear(140, 130, 3000, dtype, dtype).check();
    Linear(5, 700, 300, dtype, dtype).check();
    Linear(1, 2048, 64, dtype, dtype).check();
  }
}

TEST(results_larger_than_caches) {
  Linear(1024, 1536, 8).with_bias().check();
  Linear halves(2048, 1536, 8, HRSAM_BF16, HRSAM_BF16);
  halves.activation = 1;
  halves.check();
  Linear(2050, 1544, 8, HRSAM_BF16, HRSAM_BF16).check();  // lines that are not whole
}

// As GPUs run it: more tiles than they have processors, sums shorter and longer than what is
// brought ahead, ends of tiles in every direction.
TEST(many_tiles_in_turn) {
  for (const int64_t k : {8, 64, 200, 456}) {
    Linear linear(650, 392, k, HRSAM_BF16, HRSAM_BF16);
    linear.activation = 1;
    linear.with_bias().with_residual(650, HRSAM_BF16).check();
  }
  // An even number of tiles across: on Hopper four blocks share what they read.
  Linear wide(650, 760, 200, HRSAM_BF16, HRSAM_BF16);
  wide.activation = 2;
  wide.with_bias().with_residual(650, HRSAM_BF16).check();
  Linear f32_result(520, 256, 384, HRSAM_BF16, HRSAM_F32);
  f32_result.dtype = HRSAM_F32;
  f32_result.with_residual(130, HRSAM_F32).check();
}

TEST(mixed_types) {
  for (const int x : {HRSAM_F32, HRSAM_BF16})
    for (const int weight : {HRSAM_F32, HRSAM_BF16})
      for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
        Linear linear(33, 50, 40, x, weight);
        linear.dtype = dtype;
        linear.check();
      }
}

TEST(bias_activation_and_residual) {
  for (int activation = 0; activation <= 4; ++activation)
    for (const int residual : {HRSAM_F32, HRSAM_BF16})
      for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
        Linear linear(30, 53, 20, dtype, dtype);
        linear.activation = activation;
        linear.with_bias().check();
        linear.with_residual(30, residual).check();
        linear.dtype = residual;
        linear.in_place = true;
        linear.check();
      }
}

TEST(residual_of_a_few_rows_repeats) {
  for (const int64_t rows : {1, 2, 11, 22, 33, 66, 132})
    for (const int dtype : {HRSAM_F32, HRSAM_BF16})
      Linear(132, 20, 10, dtype, dtype).with_bias().with_residual(rows, dtype).check();
}

TEST(weights_that_are_not_constant) {
  for (const int x : {HRSAM_F32, HRSAM_BF16})
    for (const int weight : {HRSAM_F32, HRSAM_BF16}) {
      Linear linear(21, 100, 1601, x, weight);
      linear.constant_weight = false;
      linear.with_bias().check();
    }
}

TEST(random_shapes) {
  std::mt19937 random(7);
  const auto up_to = [&](int64_t limit) { return static_cast<int64_t>(random() % limit) + 1; };
  for (int i = 0; i < random_cases(60); ++i) {
    const int x = random() % 2 == 0 ? HRSAM_F32 : HRSAM_BF16;
    const int weight = random() % 2 == 0 ? HRSAM_F32 : HRSAM_BF16;
    Linear linear(up_to(150), up_to(300), up_to(200), x, weight);
    linear.dtype = random() % 2 == 0 ? HRSAM_F32 : HRSAM_BF16;
    linear.activation = static_cast<int>(random() % 5);
    if (random() % 2 == 0) linear.with_bias();
    if (random() % 2 == 0)
      linear.with_residual(linear.m(), random() % 2 == 0 ? HRSAM_F32 : HRSAM_BF16);
    linear.check();
  }
}

// A picture in a batch gets the bits that it gets alone.
TEST(a_row_does_not_depend_on_the_others) {
  for (const int dtype : {HRSAM_F32, HRSAM_BF16}) {
    const Linear many(200, 130, 800, dtype, dtype);
    const Tensor all = many.call().run_tensor();
    const size_t x_bytes = many.x.bytes.size() / 200, row_bytes = all.bytes.size() / 200;
    for (const size_t row : {0, 7, 66, 199}) {
      Linear one = many;
      one.x.dims[0] = 1;
      one.x.bytes.assign(many.x.bytes.begin() + static_cast<ptrdiff_t>(row * x_bytes),
                         many.x.bytes.begin() + static_cast<ptrdiff_t>((row + 1) * x_bytes));
      const Tensor alone = one.call().run_tensor();
      CHECK(std::memcmp(alone.bytes.data(), all.bytes.data() + row * row_bytes, row_bytes) == 0);
    }
  }
}

TEST(a_transposed_weight_changes_no_bit) {
  for (const int type : {HRSAM_F32, HRSAM_BF16})
    for (const int weight_type : {HRSAM_F32, HRSAM_BF16})
      for (const auto& [n, k] :
           {std::pair<int64_t, int64_t>{1, 1}, {49, 33}, {35, 16}, {16, 600}}) {
        const Linear linear(9, n, k, type, weight_type);
        CHECK_MAX(linear.transposed().run(), linear.call().run(), 0);
      }
}

TEST(leading_dimensions_are_rows) {
  const Linear flat(24, 5, 6);
  const Tensor x{HRSAM_F32, {2, 3, 4, 6}, flat.x.bytes};
  CHECK_MAX(Call("linear")
                .input("x", x)
                .constant("weight", flat.weight)
                .attribute("activation", 0)
                .attribute("transposed", 0)
                .result({2, 3, 4, 5})
                .run(),
            flat.call().run(), 0);
}

TEST(nothing_to_do) {
  CHECK(Linear(0, 5, 6).call().run().empty());
  CHECK(Linear(5, 0, 6).call().run().empty());
  CHECK(Linear(0, 5, 6).with_bias().with_residual(0, HRSAM_F32).call().run().empty());
}

TEST(linear_refuses_wrong_shapes) {
  const auto error = [](auto&& change) {
    Linear linear(6, 5, 4);
    linear.with_bias().with_residual(3, HRSAM_F32);
    change(linear);
    return linear.call().error();
  };
  CHECK_EQ(error([](Linear&) {}), "");
  CHECK_EQ(error([](Linear& l) { l.weight = random_tensor({5, 3}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.weight = random_tensor({5, 4, 1}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.weight = random_tensor({5, 4}, 1, HRSAM_I32); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.x = random_tensor({6, 4}, 1, HRSAM_I32); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.bias = random_tensor({4}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.bias = random_tensor({5}, 1, HRSAM_BF16); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.residual = random_tensor({4, 5}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.residual = random_tensor({12, 5}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.residual = random_tensor({0, 5}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.residual = random_tensor({3, 4}, 1); }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.dtype = HRSAM_I32; }), "ERR_SHAPE");
  CHECK_EQ(error([](Linear& l) { l.activation = 5; }), "ERR_ARGUMENT");
  CHECK_EQ(error([](Linear& l) { l.activation = -1; }), "ERR_ARGUMENT");
}

TEST(matmul_of_batches) {
  for (const int64_t k : {1, 31, 32, 33, 800})
    for (const int64_t n : {1, 7, 16, 100}) {
      check_matmul(1, 1, 4, n, k);
      check_matmul(3, 3, 4, n, k);
      check_matmul(3, 1, 5, n, k);
    }
  check_matmul(2, 2, 4, 1300, 32);
  check_matmul(1, 1, 67, 90, 32);
  check_matmul(2, 1, 1, 2050, 9);
  for (const int64_t k : {2047, 2048, 2100, 20480}) {
    check_matmul(3, 3, 4, 32, k);
    check_matmul(2, 1, 3, 5, k);
  }
}

TEST(matmul_refuses_wrong_shapes) {
  const auto error = [](const Dims& a, const Dims& b, const Dims& result, int dtype = HRSAM_F32) {
    return Call("matmul")
        .input("a", random_tensor(a, 1))
        .input("b", random_tensor(b, 2, dtype))
        .result(result)
        .error();
  };
  CHECK_EQ(error({2, 3, 4}, {2, 5, 4}, {2, 3, 5}), "");
  CHECK_EQ(error({2, 3, 4}, {2, 5, 3}, {2, 3, 5}), "ERR_SHAPE");
  CHECK_EQ(error({2, 3, 4}, {3, 5, 4}, {2, 3, 5}), "ERR_SHAPE");
  CHECK_EQ(error({2, 3, 4}, {2, 5, 4}, {2, 5, 3}), "ERR_SHAPE");
  CHECK_EQ(error({3, 4}, {2, 5, 4}, {2, 3, 5}), "ERR_SHAPE");
  CHECK_EQ(error({2, 3, 4}, {2, 5, 4}, {2, 3, 5}, HRSAM_BF16), "ERR_SHAPE");
}

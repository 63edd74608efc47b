// focal_loss, dice_loss, squared_error and their gradients against their definitions in double
// precision.
#include "harness.h"

using namespace hrsam::test;

namespace {

struct Focal {
  double alpha = 0.5, gamma = 2, eps = 1.1920928955078125e-7;

  Call call(const char* op, const Tensor& logits, const Tensor& labels) const {
    return Call(op)
        .input("logits", logits)
        .input("labels", labels)
        .attribute("alpha", alpha)
        .attribute("gamma", gamma)
        .attribute("eps", eps)
        .attribute("ignore", 255);
  }

  // Loss of every sample; at a given normaliser where one is given, and that normaliser.
  std::vector<double> losses(const std::vector<double>& logits, const std::vector<float>& labels,
                             int64_t samples, std::vector<double>* normaliser, bool given) const {
    std::vector<double> out;
    const size_t length = logits.size() / static_cast<size_t>(samples);
    for (size_t sample = 0; sample < static_cast<size_t>(samples); ++sample) {
      double count = 0, powers = 0, sum = 0;
      for (size_t i = sample * length; i < (sample + 1) * length; ++i) {
        if (labels[i] == 255) continue;
        const double z = labels[i] > 0.5f ? -logits[i] : logits[i];
        const double q = 1 / (1 + std::exp(-z)), rest = 1 / (1 + std::exp(z));
        count += 1;
        powers += std::pow(q, gamma);
        sum -= (labels[i] > 0.5f ? alpha : 1 - alpha) * std::pow(q, gamma) *
               std::log(std::min(rest + eps, 1.0));
      }
      if (!given) normaliser->push_back(count / (powers + eps));
      out.push_back((*normaliser)[sample] * sum / (count + eps));
    }
    return out;
  }
};

std::vector<double> doubles(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// 0, 1 and now and then 255.
Tensor labels_like(const Dims& dims, size_t ignored_every = 7) {
  std::vector<float> values(static_cast<size_t>(elements_of(dims)));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = i % ignored_every == 3 ? 255 : static_cast<float>(i * i / 5 % 2);
  return tensor<float>(dims, values);
}

// The gradient by central differences of the definition, the normaliser held.
std::vector<double> differences(const Focal& focal, const Tensor& logits, const Tensor& labels,
                                const std::vector<float>& dy) {
  std::vector<double> x = doubles(logits.floats()), normaliser, out;
  const std::vector<float> y = labels.floats();
  const int64_t samples = logits.dims[0];
  focal.losses(x, y, samples, &normaliser, false);
  for (size_t i = 0; i < x.size(); ++i) {
    const double h = 1e-5, at = x[i];
    const size_t sample = i / (x.size() / static_cast<size_t>(samples));
    x[i] = at + h;
    const double above = focal.losses(x, y, samples, &normaliser, true)[sample];
    x[i] = at - h;
    const double below = focal.losses(x, y, samples, &normaliser, true)[sample];
    x[i] = at;
    out.push_back(dy[sample] * (above - below) / (2 * h));
  }
  return out;
}

}  // namespace

TEST(focal_loss_and_gradient) {
  for (const double alpha : {0.5, 0.25})
    for (const double gamma : {2.0, 1.5, 3.0}) {
      const Focal focal{alpha, gamma};
      const Tensor x = random_tensor({3, 1, 5, 7}, 1, HRSAM_F32, 3), y = labels_like(x.dims);
      std::vector<double> normaliser;
      CHECK_CLOSE(focal.call("focal_loss", x, y).result({3}).run(),
                  focal.losses(doubles(x.floats()), y.floats(), 3, &normaliser, false), 1e-6);
      const Tensor dy = random_tensor({3}, 2);
      CHECK_CLOSE(focal.call("focal_loss_gradient", x, y).input("dy", dy).result(x.dims).run(),
                  differences(focal, x, y, dy.floats()), 1e-6);
    }
}

TEST(focal_loss_of_large_masks) {
  const Tensor x = random_tensor({2, 300, 211}, 1, HRSAM_F32, 4), y = labels_like(x.dims, 11);
  std::vector<double> normaliser;
  CHECK_CLOSE(Focal().call("focal_loss", x, y).result({2}).run(),
              Focal().losses(doubles(x.floats()), y.floats(), 2, &normaliser, false), 1e-6);
}

TEST(focal_loss_saturated) {
  const Tensor x = tensor<float>({1, 8}, {-1000, 1000, -60, 60, 800, -800, 0, 20});
  const Tensor y = tensor<float>({1, 8}, {0, 1, 1, 0, 0, 1, 1, 0}), one = tensor<float>({1}, {1});
  std::vector<double> normaliser;
  CHECK_CLOSE(Focal().call("focal_loss", x, y).result({1}).run(),
              Focal().losses(doubles(x.floats()), y.floats(), 1, &normaliser, false), 1e-6);
  for (const float g :
       Focal().call("focal_loss_gradient", x, y).input("dy", one).result(x.dims).run())
    CHECK(std::isfinite(g));
}

TEST(focal_loss_where_nothing_counts) {
  const Tensor x = random_tensor({2, 5}, 1), y = tensor<float>({2, 5}, std::vector<float>(10, 255));
  CHECK_MAX(Focal().call("focal_loss", x, y).result({2}).run(), std::vector<float>(2), 0);
  CHECK_MAX(Focal()
                .call("focal_loss_gradient", x, y)
                .input("dy", random_tensor({2}, 1))
                .result({2, 5})
                .run(),
            std::vector<float>(10), 0);
  const Tensor none = random_tensor({2, 0}, 1);
  CHECK_MAX(Focal().call("focal_loss", none, none).result({2}).run(), std::vector<float>(2), 0);
  const Tensor nobody = random_tensor({0, 3}, 1);
  CHECK_EQ(Focal().call("focal_loss", nobody, nobody).result({0}).run().size(), 0u);
}

TEST(focal_loss_passes_on_what_is_no_number) {
  const Tensor x = tensor<float>({2, 2}, {1, NAN, 1, 2}), y = tensor<float>({2, 2}, {0, 1, 1, 0});
  const std::vector<float> loss = Focal().call("focal_loss", x, y).result({2}).run();
  CHECK(std::isnan(loss[0]) && std::isfinite(loss[1]));
}

namespace {

// Dice losses of the samples by the definition.
std::vector<double> dice(const std::vector<double>& logits, const std::vector<float>& labels,
                         int64_t samples) {
  std::vector<double> out;
  const size_t length = logits.size() / static_cast<size_t>(samples);
  for (size_t sample = 0; sample < static_cast<size_t>(samples); ++sample) {
    double both = 0, either = 0;
    for (size_t i = sample * length; i < (sample + 1) * length; ++i) {
      if (labels[i] == 255) continue;
      const double p = 1 / (1 + std::exp(-logits[i])), y = labels[i] > 0.5f ? 1 : 0;
      both += p * y;
      either += p + y;
    }
    out.push_back(1 - (2 * both + 1) / (either + 1));
  }
  return out;
}

Call dice_call(const char* op, const Tensor& logits, const Tensor& labels) {
  return Call(op).input("logits", logits).input("labels", labels).attribute("ignore", 255);
}

}  // namespace

TEST(dice_loss_and_gradient) {
  for (const Dims& dims : {Dims{3, 1, 5, 7}, Dims{2, 300, 211}}) {
    const Tensor x = random_tensor(dims, 1, HRSAM_F32, 3), y = labels_like(dims);
    CHECK_CLOSE(dice_call("dice_loss", x, y).result({dims[0]}).run(),
                dice(doubles(x.floats()), y.floats(), dims[0]), 1e-6);
  }
  const Tensor x = random_tensor({3, 5, 7}, 1, HRSAM_F32, 3), y = labels_like(x.dims);
  const Tensor dy = random_tensor({3}, 2);
  std::vector<double> at = doubles(x.floats()), expected;
  for (size_t i = 0; i < at.size(); ++i) {
    const double h = 1e-5, before = at[i];
    const size_t sample = i / 35;
    at[i] = before + h;
    const double above = dice(at, y.floats(), 3)[sample];
    at[i] = before - h;
    const double below = dice(at, y.floats(), 3)[sample];
    at[i] = before;
    expected.push_back(dy.floats()[sample] * (above - below) / (2 * h));
  }
  CHECK_CLOSE(dice_call("dice_loss_gradient", x, y).input("dy", dy).result(x.dims).run(), expected,
              1e-6);
}

TEST(dice_loss_at_its_ends) {
  // All right, all wrong, nothing there, nothing that counts.
  const Tensor x = tensor<float>({4, 2}, {90, -90, -90, 90, -90, -90, 3, 4});
  const Tensor y = tensor<float>({4, 2}, {1, 0, 1, 0, 0, 0, 255, 255});
  CHECK_CLOSE(dice_call("dice_loss", x, y).result({4}).run(),
              std::vector<double>({0, 1 - 1.0 / 3, 0, 0}), 1e-6);
  const Tensor ones = tensor<float>({4}, {1, 1, 1, 1});
  for (const float g : dice_call("dice_loss_gradient", x, y).input("dy", ones).result({4, 2}).run())
    CHECK(std::isfinite(g) && std::abs(g) < 1e-6f);
  const Tensor none = random_tensor({2, 0}, 1);
  CHECK_MAX(dice_call("dice_loss", none, none).result({2}).run(), std::vector<float>(2), 0);
}

TEST(dice_loss_rejects_wrong_shapes) {
  const Tensor x = random_tensor({2, 5}, 1), half = random_tensor({2, 5}, 1, HRSAM_BF16);
  CHECK_EQ(dice_call("dice_loss", x, x).result({3}).error(), "ERR_SHAPE");
  CHECK_EQ(dice_call("dice_loss", x, half).result({2}).error(), "ERR_SHAPE");
  CHECK_EQ(dice_call("dice_loss_gradient", x, x).input("dy", x).result({2, 5}).error(),
           "ERR_SHAPE");
}

TEST(focal_loss_rejects_wrong_shapes) {
  const Tensor x = random_tensor({2, 5}, 1), half = random_tensor({2, 5}, 1, HRSAM_BF16);
  CHECK_EQ(Focal().call("focal_loss", x, x).result({3}).error(), "ERR_SHAPE");
  CHECK_EQ(Focal().call("focal_loss", x, half).result({2}).error(), "ERR_SHAPE");
  CHECK_EQ(Focal().call("focal_loss", x, random_tensor({5, 2}, 1)).result({2}).error(),
           "ERR_SHAPE");
  CHECK_EQ(Focal().call("focal_loss_gradient", x, x).input("dy", x).result({2, 5}).error(),
           "ERR_SHAPE");
}

TEST(squared_error_and_gradient) {
  for (const int64_t length : {1, 15, 16, 17, 1025, 70001}) {
    const Tensor x = random_tensor({3, length}, 1), target = random_tensor({3, length}, 2);
    const Tensor dy = random_tensor({3}, 3);
    const std::vector<float> a = x.floats(), b = target.floats(), g = dy.floats();
    std::vector<double> losses(3), gradient;
    for (size_t i = 0; i < a.size(); ++i) {
      const size_t sample = i / static_cast<size_t>(length);
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      losses[sample] += d * d / static_cast<double>(length);
      gradient.push_back(2 * d * g[sample] / static_cast<double>(length));
    }
    const auto call = [&](const char* op) {
      return Call(op).input("x", x).input("target", target);
    };
    CHECK_CLOSE(call("squared_error").result({3}).run(), losses, 3e-7);
    CHECK_CLOSE(call("squared_error_gradient").input("dy", dy).result({3, length}).run(), gradient,
                3e-7);
  }
}

TEST(squared_error_of_nothing) {
  const Tensor none = random_tensor({2, 0}, 1);
  CHECK_MAX(Call("squared_error").input("x", none).input("target", none).result({2}).run(),
            std::vector<float>(2), 0);
}

TEST(squared_error_rejects_wrong_shapes) {
  const Tensor x = random_tensor({2, 5}, 1);
  const auto call = [&](const char* op, const Tensor& target) {
    return Call(op).input("x", x).input("target", target);
  };
  CHECK_EQ(call("squared_error", random_tensor({2, 4}, 1)).result({2}).error(), "ERR_SHAPE");
  CHECK_EQ(call("squared_error", x).result({1}).error(), "ERR_SHAPE");
  CHECK_EQ(call("squared_error_gradient", x).input("dy", x).result({2, 5}).error(), "ERR_SHAPE");
}

// Every op, called rightly and then with one or two things changed at random: shapes, types,
// attributes, operands dropped. It must work or say what is wrong, without touching memory that is
// not its own: operands are exactly as large as they claim, so AddressSanitizer sees what an op
// fails to check.
#include <cstdlib>
#include <cstring>
#include <random>

#include "harness.h"

using namespace hrsam::test;

namespace {

struct Operand {
  const char* name;
  Dims dims;
  int dtype = HRSAM_F32;
};

using Attributes = std::vector<std::pair<const char*, std::vector<double>>>;

struct Example {
  const char* op;
  std::vector<Operand> operands;
  Attributes attributes;
  Operand result{"result", {}};
};

Attributes windows(double before, double shift, double theta, std::vector<double> scales) {
  return {{"heads", {2}},          {"window", {4}},       {"before", {before}}, {"shift", {shift}},
          {"rope_theta", {theta}}, {"rope_scale", {0.5}}, {"scales", scales}};
}

Attributes sequences(double theta, std::vector<double> grids, std::vector<double> q_grid,
                     std::vector<double> k_grid) {
  return {{"heads", {2}},   {"rope_theta", {theta}}, {"rope_scale", {0.5}},
          {"grids", grids}, {"q_grid", q_grid},      {"k_grid", k_grid}};
}

const std::vector<Example>& examples() {
  static const Attributes padded_windows = windows(2, 0, 1e4, {5, 6});
  static const Attributes rolled_windows = windows(0, 2, 0, {3, 6, 4, 3});
  static const Attributes plain = sequences(0, {}, {}, {});
  static const Attributes on_grids = sequences(0, {}, {2, 3}, {2, 3});
  static const Attributes rotated = sequences(1e4, {2, 3, 2, 2}, {}, {});
  static const std::vector<Example> all{
      {"linear",
       {{"x", {2, 3, 8}}, {"weight", {5, 8}}, {"bias", {5}}, {"residual", {1, 3, 5}}},
       {{"activation", {1}}, {"transposed", {0}}},
       {"", {2, 3, 5}}},
      {"linear",
       {{"x", {2, 3, 8}}, {"weight", {8, 5}}},
       {{"activation", {0}}, {"transposed", {1}}},
       {"", {2, 3, 5}}},
      {"matmul", {{"a", {2, 4, 8}}, {"b", {1, 6, 8}}}, {}, {"", {2, 4, 6}}},
      {"layer_norm",
       {{"x", {2, 3, 8}}, {"weight", {8}}, {"bias", {8}}, {"gate", {2, 3, 8}}},
       {{"eps", {1e-5}}, {"activation", {0}}},
       {"", {2, 3, 8}}},
      {"window_attention",
       {{"qkv", {1, 30, 24}}, {"pad", {1, 24}}},
       padded_windows,
       {"", {1, 30, 8}}},
      {"window_attention",
       {{"qkv", {1, 30, 24}}, {"pad", {1, 24}}, {"rel_h", {4, 4, 4}}, {"rel_w", {4, 4, 4}}},
       rolled_windows,
       {"", {1, 30, 8}}},
      {"attention",
       {{"q", {2, 5, 8}}, {"k", {2, 7, 8}}, {"v", {2, 7, 8}}, {"lengths", {2}, HRSAM_I32}},
       plain,
       {"", {2, 5, 8}}},
      {"attention",
       {{"q", {2, 6, 8}},
        {"k", {1, 6, 8}},
        {"v", {1, 6, 8}},
        {"rel_h", {2, 2, 4}},
        {"rel_w", {3, 3, 4}}},
       on_grids,
       {"", {2, 6, 8}}},
      {"attention", {{"q", {1, 10, 24}}}, rotated, {"", {1, 10, 8}}},
      {"cycle_scan",
       {{"u", {1, 6, 5}},
        {"ssm", {1, 6, 13}},
        {"a_log", {5, 4}},
        {"dt_bias", {5}},
        {"d", {5}},
        {"gamma", {5, 3, 1}}},
       {{"segments", {2, 4}}, {"softplus", {1}}, {"literal", {0}}, {"fast", {0}}},
       {"", {1, 6, 5}}},
      {"depthwise_conv",
       {{"x", {1, 4, 5, 6}}, {"weight", {6, 1, 3, 3}}},
       {{"flip", {0}}},
       {"", {1, 4, 5, 6}}},
      {"bilinear_resize",
       {{"x", {1, 4, 5, 6}}},
       {{"size", {3, 7}}, {"channels_last", {1}}},
       {"", {1, 3, 7, 6}}},
      {"bilinear_resize",
       {{"x", {1, 2, 4, 5}}},
       {{"size", {3, 7}}, {"channels_last", {0}}},
       {"", {1, 2, 3, 7}}},
      {"im2col",
       {{"x", {1, 4, 6, 3}}},
       {{"kernel", {3}}, {"stride", {1}}, {"padding", {1}}, {"channels_last", {1}}},
       {"", {1, 4, 6, 27}}},
      {"im2col",
       {{"x", {1, 3, 4, 6}}},
       {{"kernel", {2}}, {"stride", {2}}, {"padding", {0}}, {"channels_last", {0}}},
       {"", {1, 2, 3, 12}}},
      {"depth_to_space", {{"x", {1, 2, 3, 8}}}, {{"block", {2}}}, {"", {1, 4, 6, 2}}},
      {"concat", {{"x0", {2, 3, 4}}, {"x1", {2, 2, 4}}}, {{"axis", {1}}}, {"", {2, 5, 4}}},
      {"slice", {{"x", {2, 5, 4}}}, {{"axis", {1}}, {"start", {1}}, {"end", {3}}}, {"", {2, 2, 4}}},
      {"permute", {{"x", {2, 3, 4, 5}}}, {{"order", {0, 3, 1, 2}}}, {"", {2, 5, 3, 4}}},
      {"add", {{"a", {2, 3, 4}}, {"b", {1, 3, 1}}}, {}, {"", {2, 3, 4}}},
      {"expand", {{"x", {1, 3, 4}}}, {{"batch", {3}}}, {"", {3, 3, 4}}},
      {"cast", {{"x", {2, 3}}}, {}, {"", {2, 3}, HRSAM_BF16}},
      {"activation", {{"x", {2, 3}}}, {{"activation", {2}}}, {"", {2, 3}}},
      {"position_encoding", {{"gaussian", {2, 4}}}, {{"size", {3, 5}}}, {"", {1, 3, 5, 8}}},
      {"prompt_points",
       {{"points", {2, 3, 2}},
        {"labels", {2, 3}},
        {"gaussian", {2, 4}},
        {"embeddings", {4, 8}},
        {"not_a_point", {1, 8}}},
       {{"size", {100, 200}}},
       {"", {2, 3, 8}}},
      {"rel_pos", {{"table", {7, 3}}}, {{"q_size", {5}}, {"k_size", {4}}}, {"", {5, 4, 3}}},
      {"preprocess",
       {{"pixels", {9, 7, 3}, HRSAM_U8}},
       {{"size", {8, 6}},
        {"padded", {8, 8}},
        {"mean", {1, 2, 3}},
        {"std", {4, 5, 6}},
        {"antialias", {1}},
        {"swap", {0}}},
       {"", {1, 3, 8, 8}}},
      {"mask_summary",
       {{"logits", {1, 2, 4, 4}}},
       {{"size", {3, 4}}, {"threshold", {0}}, {"offset", {1}}},
       {"", {1, 2, 6}}},
      {"mask_threshold",
       {{"logits", {1, 2, 4, 4}}},
       {{"input", {16, 16}}, {"crop", {16, 12}}, {"original", {20, 15}}, {"threshold", {0}}},
       {"", {1, 2, 20, 15}, HRSAM_U8}},
      {"pad", {{"x", {2, 3, 4}}}, {{"axis", {1}}, {"start", {1}}, {"size", {5}}}, {"", {2, 5, 4}}},
      {"mul", {{"a", {2, 3, 4}}, {"b", {2, 3, 4}}}, {}, {"", {2, 3, 4}}},
      {"scale_samples", {{"x", {2, 3, 4}}, {"scale", {2}}}, {}, {"", {2, 3, 4}}},
      {"sum_rows", {{"x", {6, 5}}}, {}, {"", {5}}},
      {"activation_gradient",
       {{"x", {2, 3}}, {"dy", {2, 3}, HRSAM_BF16}},
       {{"activation", {1}}},
       {"", {2, 3}, HRSAM_BF16}},
      {"layer_norm_gradient",
       {{"x", {2, 3, 8}}, {"weight", {8}}, {"dy", {2, 3, 8}}},
       {{"eps", {1e-5}}},
       {"", {2, 3, 8}}},
      {"layer_norm_parameters_gradient",
       {{"x", {2, 3, 8}}, {"dy", {2, 3, 8}}},
       {{"eps", {1e-5}}},
       {"", {2, 8}}},
      {"linear_weight_gradient", {{"x", {2, 3, 8}}, {"dy", {2, 3, 5}}}, {}, {"", {5, 8}}},
      {"bilinear_resize_gradient",
       {{"dy", {1, 3, 7, 6}}},
       {{"size", {4, 5}}, {"channels_last", {1}}},
       {"", {1, 4, 5, 6}}},
      {"bilinear_resize_gradient",
       {{"dy", {1, 2, 3, 7}}},
       {{"size", {4, 5}}, {"channels_last", {0}}},
       {"", {1, 2, 4, 5}}},
      {"depthwise_conv_weight_gradient",
       {{"x", {1, 4, 5, 6}}, {"dy", {1, 4, 5, 6}}},
       {{"kernel", {3}}},
       {"", {6, 1, 3, 3}}},
      {"col2im",
       {{"dy", {1, 4, 6, 27}}},
       {{"kernel", {3}},
        {"stride", {1}},
        {"padding", {1}},
        {"channels_last", {1}},
        {"size", {4, 6}}},
       {"", {1, 4, 6, 3}}},
      {"col2im",
       {{"dy", {1, 2, 3, 12}}},
       {{"kernel", {2}},
        {"stride", {2}},
        {"padding", {0}},
        {"channels_last", {0}},
        {"size", {4, 6}}},
       {"", {1, 3, 4, 6}}},
      {"prompt_points_gradient", {{"labels", {2, 3}}, {"dy", {2, 3, 8}}}, {}, {"", {5, 8}}},
      {"rel_pos_gradient", {{"dy", {5, 4, 3}}}, {{"length", {7}}}, {"", {7, 3}}},
      {"focal_loss",
       {{"logits", {2, 3, 4}}, {"labels", {2, 3, 4}}},
       {{"alpha", {0.5}}, {"gamma", {2}}, {"eps", {1e-7}}, {"ignore", {255}}},
       {"", {2}}},
      {"window_attention_gradient",
       {{"qkv", {1, 30, 24}}, {"dy", {1, 30, 8}}, {"pad", {1, 24}}},
       padded_windows,
       {"", {31, 24}}},
      {"window_attention_gradient",
       {{"qkv", {1, 30, 24}},
        {"dy", {1, 30, 8}},
        {"pad", {1, 24}},
        {"rel_h", {4, 4, 4}},
        {"rel_w", {4, 4, 4}}},
       rolled_windows,
       {"", {31, 24}}},
      {"window_attention_relative_gradient",
       {{"qkv", {1, 30, 24}},
        {"dy", {1, 30, 8}},
        {"pad", {1, 24}},
        {"rel_h", {4, 4, 4}},
        {"rel_w", {4, 4, 4}}},
       rolled_windows,
       {"", {2, 4, 4, 4}}},
      {"attention_gradient",
       {{"q", {2, 5, 8}},
        {"dy", {2, 5, 8}},
        {"k", {2, 7, 8}},
        {"v", {2, 7, 8}},
        {"lengths", {2}, HRSAM_I32}},
       plain,
       {"", {304}}},
      {"attention_gradient",
       {{"q", {2, 6, 8}},
        {"dy", {2, 6, 8}},
        {"k", {1, 6, 8}},
        {"v", {1, 6, 8}},
        {"rel_h", {2, 2, 4}},
        {"rel_w", {3, 3, 4}}},
       on_grids,
       {"", {192}}},
      {"attention_relative_gradient",
       {{"q", {2, 6, 8}},
        {"dy", {2, 6, 8}},
        {"k", {1, 6, 8}},
        {"v", {1, 6, 8}},
        {"rel_h", {2, 2, 4}},
        {"rel_w", {3, 3, 4}}},
       on_grids,
       {"", {52}}},
      {"attention_gradient", {{"q", {1, 10, 24}}, {"dy", {1, 10, 8}}}, rotated, {"", {240}}},
      {"cycle_scan_gradient",
       {{"u", {1, 6, 5}},
        {"dy", {1, 6, 5}},
        {"ssm", {1, 6, 13}},
        {"a_log", {5, 4}},
        {"dt_bias", {5}},
        {"d", {5}},
        {"gamma", {5, 3, 1}}},
       {{"segments", {2, 4}}, {"softplus", {1}}, {"literal", {0}}, {"fast", {0}}},
       {"", {153}}},
      {"focal_loss_gradient",
       {{"logits", {2, 3, 4}}, {"labels", {2, 3, 4}}, {"dy", {2}}},
       {{"alpha", {0.5}}, {"gamma", {2}}, {"eps", {1e-7}}, {"ignore", {255}}},
       {"", {2, 3, 4}}},
      {"dice_loss", {{"logits", {2, 3, 4}}, {"labels", {2, 3, 4}}}, {{"ignore", {255}}}, {"", {2}}},
      {"dice_loss_gradient",
       {{"logits", {2, 3, 4}}, {"labels", {2, 3, 4}}, {"dy", {2}}},
       {{"ignore", {255}}},
       {"", {2, 3, 4}}},
      {"squared_error", {{"x", {2, 3, 4}}, {"target", {2, 3, 4}}}, {}, {"", {2}}},
      {"squared_error_gradient",
       {{"x", {2, 3, 4}}, {"target", {2, 3, 4}}, {"dy", {2}}},
       {},
       {"", {2, 3, 4}}},
  };
  return all;
}

using Random = std::mt19937;
template <class T>
T& pick(Random& random, std::vector<T>& list) {
  return list[random() % list.size()];
}

void mutate_value(Random& random, Operand& value) {
  const int64_t rest = elements_of(value.dims);
  switch (random() % 5) {
    case 0:
      if (!value.dims.empty()) pick(random, value.dims) = static_cast<int64_t>(random() % 6);
      break;
    case 1:
      if (!value.dims.empty()) pick(random, value.dims) += random() % 2 == 0 ? 1 : -1;
      break;
    case 2:
      if (!value.dims.empty()) value.dims.pop_back();
      break;
    case 3:
      if (value.dims.size() < HRSAM_MAX_RANK)
        value.dims.insert(value.dims.begin(), 1 + static_cast<int64_t>(random() % 2));
      break;
    default:
      value.dtype = static_cast<int>(random() % 4);
  }
  for (int64_t& dim : value.dims) dim = std::max<int64_t>(0, dim);
  if (elements_of(value.dims) > 100 * (rest + 1)) value.dims.assign(1, 1);
}

void mutate(Random& random, Example& call) {
  switch (random() % 8) {
    case 0:
      mutate_value(random, call.result);
      break;
    case 1:
      if (!call.operands.empty())
        call.operands.erase(call.operands.begin() +
                            static_cast<std::ptrdiff_t>(random() % call.operands.size()));
      break;
    case 2:
    case 3:
    case 4: {
      if (call.attributes.empty()) break;
      static std::vector<double> numbers{-1, 0,   1,   2,    3,     4,   5,   8,
                                         16, 100, 1e9, 1e18, 1e300, 0.5, NAN, -INFINITY};
      auto& list = pick(random, call.attributes).second;
      if (random() % 4 == 0 && !list.empty())
        list.pop_back();
      else if (random() % 4 == 0 || list.empty())
        list.push_back(pick(random, numbers));
      else
        pick(random, list) = pick(random, numbers);
      break;
    }
    default:
      if (!call.operands.empty()) mutate_value(random, pick(random, call.operands));
  }
}

std::string run(const Example& example, uint32_t seed) {
  Call call(example.op);
  for (const Operand& each : example.operands) {
    const Tensor data = random_tensor(each.dims, seed, each.dtype);
    if (seed % 2 == 0)
      call.input(each.name, data);
    else
      call.constant(each.name, data);
  }
  for (const auto& [name, list] : example.attributes) call.attribute(name, list);
  return call.result(example.result.dims, example.result.dtype).error();
}

}  // namespace

TEST(the_examples_are_right) {
  for (const Example& example : examples()) {
    for (const uint32_t seed : {0, 1}) {
      const std::string code = run(example, seed);
      CHECK_EQ(text(example.op, ' ', code), text(example.op, ' '));
    }
  }
}

TEST(changed_calls_work_or_fail_with_a_code) {
  for (const Example& example : examples()) {
    int failed = 0;
    for (uint32_t seed = 0; seed < 300; ++seed) {
      Random random(seed);
      Example changed = example;
      mutate(random, changed);
      if (seed % 3 == 0) mutate(random, changed);
      const std::string code = run(changed, seed);
      failed += !code.empty();
      const bool known = code.empty() || code == "ERR_SHAPE" || code == "ERR_ARGUMENT" ||
                         code == "ERR_INTERNAL" || code == "ERR_OUT_OF_MEMORY";
      CHECK_EQ(text(example.op, ' ', known ? "" : code), text(example.op, ' '));
    }
    CHECK_LE(100, failed);
  }
}

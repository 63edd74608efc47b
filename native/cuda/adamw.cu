// One step of AdamW over all parameters, laid end to end: the gradient's norm in a first pass (in
// double, by pieces, in their order), the update in a second. Bound by memory: 4 rows read and
// written.
#include <vector>

#include "../plan/gradient_checks.h"
#include "samples.h"

namespace hrsam::cuda {

namespace {

struct AdamWNumbers {
  float beta1, rest1, beta2, rest2, eps;
  double clip;
};

// The sum of the gradient's squares, and what each gradient is multiplied by: 1 / count, and less
// where the mean gradient is longer than clip.
struct Norm {
  const float *gradient, *step;
  double clip;
  float* scale;
  HRSAM_DEVICE void add(int64_t i, double* sums) const {
    const double g = gradient[i];
    sums[0] += g * g;
  }
  HRSAM_DEVICE void finish(int64_t, const double* sums) const {
    const double count = static_cast<double>(step[3]);
    // As torch.nn.utils.clip_grad_norm_.
    const double clipped = clip > 0 ? clip / (::sqrt(sums[0]) / count + 1e-6) : 1;
    *scale = static_cast<float>((clipped < 1 ? clipped : 1) / count);
  }
};

// A group's parameters [begin, end).
struct Group {
  int64_t begin;
  float rate, decay;
};

struct Update {
  const float *from, *gradient, *step, *scale;
  float* to;
  const Group* groups;
  int group_count;
  int64_t size;
  AdamWNumbers n;
  HRSAM_DEVICE void operator()(int64_t i) const {
    int low = 0, high = group_count;  // the last group that begins at or before i
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      groups[middle].begin <= i ? low = middle : high = middle;
    }
    const float rate = step[0] * groups[low].rate;
    const float g = gradient[i] * *scale;
    const float m = fmaf(n.rest1, g, n.beta1 * from[size + i]);
    const float v = fmaf(n.rest2 * g, g, n.beta2 * from[2 * size + i]);
    const float denominator = fmaf(sqrtf(v), 1 / sqrtf(step[2]), n.eps);
    const float p =
        fmaf(-rate / step[1], m / denominator, (1 - rate * groups[low].decay) * from[i]);
    to[3 * size + i] = fmaf(1 - step[4], p, step[4] * from[3 * size + i]);
    to[i] = p;
    to[size + i] = m;
    to[2 * size + i] = v;
  }
};

}  // namespace

Op* compile_adamw(const Node& node, Compiler& compiler) {
  check_adamw(node);
  const int64_t size = node.value("gradient").dim(0);
  AdamWNumbers numbers{};
  int betas_count = 0;
  const double* betas = node.list("betas", &betas_count);
  if (betas_count != 2) node.fail("ERR_ARGUMENT", "betas: expected 2 numbers, got %d", betas_count);
  // 1 - beta in double: of 0.999 in float it would be off by 5e-5.
  numbers.beta1 = static_cast<float>(betas[0]);
  numbers.rest1 = static_cast<float>(1 - betas[0]);
  numbers.beta2 = static_cast<float>(betas[1]);
  numbers.rest2 = static_cast<float>(1 - betas[1]);
  numbers.eps = static_cast<float>(node.number("eps"));
  numbers.clip = node.number("clip");

  const ParameterGroups given = read_groups(node, size);
  std::vector<Group> groups;
  int64_t begin = 0;
  for (int i = 0; i < given.count; ++i) {
    if (given.lengths[i] > 0)
      groups.push_back(
          {begin, static_cast<float>(given.rates[i]), static_cast<float>(given.decays[i])});
    begin += static_cast<int64_t>(given.lengths[i]);
  }
  const size_t sums = sample_workspace<1>(1, size);
  const SharedBlock list = compiler.upload(groups.data(), groups.size() * sizeof(Group));
  return make_op(
      sums + sizeof(float),
      [=, state = node.operand("state"), gradient = node.operand("gradient"),
       step = node.operand("step"), count = static_cast<int>(groups.size())](const Run& run) {
        auto* scale = reinterpret_cast<float*>(static_cast<char*>(run.workspace) + sums);
        sum_samples<1>(run.stream, 1, size, run.workspace,
                       Norm{run.in<float>(gradient), run.in<float>(step), numbers.clip, scale});
        each(run.stream, size,
             Update{run.in<float>(state), run.in<float>(gradient), run.in<float>(step), scale,
                    run.out<float>(), list->as<Group>(), count, size, numbers});
      });
}

}  // namespace hrsam::cuda

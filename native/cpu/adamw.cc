// One step of AdamW over all parameters, laid end to end: the gradient's norm in a first pass (in
// double, by chunks, in their order), the update in a second. Bound by memory: 4 rows read and
// written.
#include <math.h>

#include "../plan/gradient_checks.h"
#include "simd.h"
#include "squared_norm.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kChunk = 16384;  // elements of a task; a group starts a new one

struct Chunk {
  int64_t begin, count;
  float rate, decay;
};

struct Step {
  float rate, bias1, bias2, count, average;
};

class AdamW : public Op {
 public:
  explicit AdamW(const Node& node)
      : state_(node.operand("state")),
        gradient_(node.operand("gradient")),
        step_(node.operand("step")),
        size_(node.value("gradient").dim(0)),
        eps_(static_cast<float>(node.number("eps"))),
        clip_(node.number("clip")) {
    int count = 0;
    const double* betas = node.list("betas", &count);
    if (count != 2) node.fail("ERR_ARGUMENT", "betas: expected 2 numbers, got %d", count);
    // 1 - beta in double: of 0.999 in float it would be off by 5e-5.
    beta1_ = static_cast<float>(betas[0]);
    rest1_ = static_cast<float>(1 - betas[0]);
    beta2_ = static_cast<float>(betas[1]);
    rest2_ = static_cast<float>(1 - betas[1]);
    cut(node);
  }

  void run(const Run& run) const override {
    const float* from = run.in<float>(state_);
    const float* gradient = run.in<float>(gradient_);
    const float* numbers = run.in<float>(step_);
    const Step step{numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]};
    const float scale = gradient_scale(run, gradient, step.count);
    float* to = run.out<float>();
    run.pool.each(chunks_,
                  [&](int64_t i, int) { update(all()[i], from, gradient, scale, step, to); });
  }

 private:
  const Chunk* all() const { return cuts_.as<Chunk>(); }

  void cut(const Node& node) {
    const ParameterGroups groups = read_groups(node, size_);
    for (int i = 0; i < groups.count; ++i)
      chunks_ += divide_up(static_cast<int64_t>(groups.lengths[i]), kChunk);
    cuts_ = Block(static_cast<size_t>(chunks_) * sizeof(Chunk));
    Chunk* next = cuts_.as<Chunk>();
    int64_t begin = 0;
    for (int i = 0; i < groups.count; ++i) {
      const int64_t end = begin + static_cast<int64_t>(groups.lengths[i]);
      for (; begin < end; begin += next[-1].count)
        *next++ = {begin, smaller(kChunk, end - begin), static_cast<float>(groups.rates[i]),
                   static_cast<float>(groups.decays[i])};
    }
  }

  // 1 / count, and less where the mean gradient is longer than clip.
  float gradient_scale(const Run& run, const float* gradient, float count) const {
    if (clip_ <= 0) return 1 / count;
    run.pool.reserve(static_cast<size_t>(chunks_) * sizeof(double));
    double* squares = static_cast<double*>(run.pool.scratch(0));
    run.pool.each(chunks_, [&](int64_t i, int) {
      squares[i] = squared_norm(gradient + all()[i].begin, all()[i].count);
    });
    double total = 0;
    for (int64_t i = 0; i < chunks_; ++i) total += squares[i];
    const double norm = ::sqrt(total) / count;
    // As torch.nn.utils.clip_grad_norm_.
    const double clipped = clip_ / (norm + 1e-6);
    return static_cast<float>((clipped < 1 ? clipped : 1) / count);
  }

  void update(const Chunk& chunk, const float* from, const float* gradient, float scale,
              const Step& step, float* to) const {
    const float rate = step.rate * chunk.rate;
    const V keep = set1(1 - rate * chunk.decay);
    const V stride = set1(-rate / step.bias1);
    const V root = set1(1 / sqrtf(step.bias2));
    const V beta1 = set1(beta1_), rest1 = set1(rest1_);
    const V beta2 = set1(beta2_), rest2 = set1(rest2_);
    const V eps = set1(eps_), scales = set1(scale);
    const V old = set1(step.average), fresh = set1(1 - step.average);
    for (int64_t k = 0; k < chunk.count; k += kWidth) {
      const int64_t at = chunk.begin + k;
      const int lanes = static_cast<int>(smaller(kWidth, chunk.count - k));
      const V g = load_n(gradient + at, lanes) * scales;
      const V m = fma(rest1, g, beta1 * load_n(from + size_ + at, lanes));
      const V v = fma(rest2 * g, g, beta2 * load_n(from + 2 * size_ + at, lanes));
      const V denominator = fma(sqrt(v), root, eps);
      const V p = fma(stride, m / denominator, keep * load_n(from + at, lanes));
      const V average = fma(fresh, p, old * load_n(from + 3 * size_ + at, lanes));
      store_n(to + at, p, lanes);
      store_n(to + size_ + at, m, lanes);
      store_n(to + 2 * size_ + at, v, lanes);
      store_n(to + 3 * size_ + at, average, lanes);
    }
  }

  int state_, gradient_, step_;
  int64_t size_;
  float eps_;
  double clip_;
  float beta1_ = 0, rest1_ = 0, beta2_ = 0, rest2_ = 0;
  int64_t chunks_ = 0;
  Block cuts_;
};

}  // namespace

Op* compile_adamw(const Node& node, Compiler&) {
  check_adamw(node);
  return new AdamW(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA

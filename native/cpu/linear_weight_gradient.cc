// dyᵀ·x summed over all rows (tokens): the product of a left matrix that lies turned and of weights
// that do, some tokens at a time, so that what is packed of x stays in a cache.
#include <string.h>

#include "../plan/gradient_checks.h"
#include "gemm.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

constexpr int64_t kPackedBytes = 4 << 20;
constexpr int64_t kLeastTokens = 256;
constexpr size_t kAlignment = 64;

class LinearWeightGradient : public Op {
 public:
  explicit LinearWeightGradient(const Node& node)
      : x_(node.operand("x")),
        dy_(node.operand("dy")),
        dtype_(node.value("x").dtype),
        tokens_(node.value("x").rows()) {
    call_.m = node.result().dim(0);
    call_.n = node.result().dim(1);
    call_.a_type = dtype_;
    call_.a_turned = true;
    call_.residual_rows = call_.m;
    const auto least = static_cast<int64_t>(gemm_packed_bytes(call_.n, kLeastTokens, dtype_));
    part_ = kLeastTokens * larger(1, kPackedBytes / larger(1, least));
  }

  void run(const Run& run) const override {
    if (call_.m == 0 || call_.n == 0) return;
    float* out = run.out<float>();
    if (tokens_ == 0) memset(out, 0, static_cast<size_t>(call_.m * call_.n) * sizeof(float));
    for (int64_t token = 0; token < tokens_; token += part_)
      add(run, token, smaller(part_, tokens_ - token), out);
  }

 private:
  void add(const Run& run, int64_t token, int64_t count, float* out) const {
    const int64_t bytes = dtype_bytes(dtype_);
    Gemm call = call_;
    call.k = count;
    call.a = run.in<char>(dy_) + token * call.m * bytes;
    call.out = out;
    call.residual = token > 0 ? out : nullptr;
    const size_t own = gemm_scratch_bytes(call, run.pool.threads());
    const size_t before = (own + kAlignment - 1) / kAlignment * kAlignment;
    run.pool.reserve(before + gemm_packed_bytes(call.n, count, dtype_));
    void* packed = static_cast<char*>(run.pool.scratch(0)) + before;
    gemm_pack(run.pool, {run.in<char>(x_) + token * call.n * bytes, dtype_, call.n, count, true},
              dtype_, packed);
    call.packed = packed;
    gemm(run.pool, call);
  }

  int x_, dy_;
  DType dtype_;
  int64_t tokens_;
  int64_t part_;  // of the tokens
  Gemm call_;     // but for what a part of the tokens decides
};

}  // namespace

Op* compile_linear_weight_gradient(const Node& node, Compiler&) {
  check_linear_weight_gradient(node);
  return new LinearWeightGradient(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA

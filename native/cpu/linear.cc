// residual + activation(x·Wᵀ + bias), W as it is or transposed in memory.
#include <stdio.h>

#include "../plan/forward_checks.h"
#include "gemm.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Linear : public Op {
 public:
  Linear(const Node& node, Compiler& compiler) : x_(node.operand("x")) {
    const Value& x = node.value("x");
    const Value& weight = node.value("weight");
    const Value& result = node.result();
    call_.m = x.rows();
    call_.n = result.dim(-1);
    call_.k = x.dim(-1);
    call_.a_type = x.dtype;
    call_.activation = activation_of(node);
    call_.out_type = result.dtype;
    bias_ = node.operand_or("bias");
    residual_ = node.operand_or("residual");
    if (residual_ >= 0) {
      call_.residual_type = node.value("residual").dtype;
      call_.residual_rows = node.value("residual").rows();
    }
    const size_t bytes = gemm_packed_bytes(call_.n, call_.k, x.dtype);
    weights_ = {weight.data, weight.dtype, call_.n, call_.k, node.flag("transposed")};
    if (weight.data == nullptr) {
      weight_ = node.operand("weight");
      packed_ = Block(bytes);
      call_.packed = packed_.as<void>();
      return;
    }
    char layout[96];
    snprintf(layout, sizeof(layout), "gemm %d %lld %lld %d", static_cast<int>(x.dtype),
             static_cast<long long>(call_.n), static_cast<long long>(call_.k), weights_.transposed);
    void* packed = nullptr;
    bool fresh = false;
    shared_ = compiler.share(weight, layout, bytes, &packed, &fresh);
    if (fresh) gemm_pack(compiler.pool, weights_, x.dtype, packed);
    call_.packed = packed;
  }
  ~Linear() override {
    if (shared_ != nullptr) Compiler::release(shared_);
  }

  void run(const Run& run) const override {
    if (shared_ == nullptr) {
      Weights weights = weights_;
      weights.data = run.in<void>(weight_);
      gemm_pack(run.pool, weights, call_.a_type, packed_.as<void>());
    }
    Gemm call = call_;
    call.a = run.in<void>(x_);
    call.bias = bias_ >= 0 ? run.in<float>(bias_) : nullptr;
    call.residual = residual_ >= 0 ? run.in<void>(residual_) : nullptr;
    call.out = run.result;
    gemm(run.pool, call);
  }

 private:
  Gemm call_;  // but for the addresses known when it runs
  int x_, bias_, residual_;
  Weights weights_{};
  int weight_ = -1;  // packed in every run: not a constant
  Block packed_;
  Compiler::Shared* shared_ = nullptr;
};

}  // namespace

Op* compile_linear(const Node& node, Compiler& compiler) {
  check_linear(node);
  return new Linear(node, compiler);
}

}  // namespace hrsam::cpu::HRSAM_ISA

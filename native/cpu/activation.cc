// GELU, SiLU, ReLU or sigmoid of every element.
#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class ActivationOp : public Op {
 public:
  ActivationOp(int x, int64_t elements, DType from, DType to, Activation activation)
      : x_(x), elements_(elements), from_(from), to_(to), activation_(activation) {}

  void run(const Run& run) const override {
    with_floats(from_, [&](auto from) {
      with_floats(to_, [&](auto to) {
        const auto* x = run.in<decltype(from)>(x_);
        auto* y = run.out<decltype(to)>();
        each_piece(run.pool, 1, elements_, 8, [&](int64_t, int64_t begin, int64_t end) {
          map_vectors(
              y + begin, end - begin,
              [activation = activation_](V v) { return activate(v, activation); }, x + begin);
        });
      });
    });
  }

 private:
  int x_;
  int64_t elements_;
  DType from_, to_;
  Activation activation_;
};

}  // namespace

Op* compile_activation(const Node& node, Compiler&) {
  check_activation(node);
  const Value& x = node.value("x");
  const Value& result = node.result();
  return new ActivationOp(node.operand("x"), x.elements(), x.dtype, result.dtype,
                          activation_of(node));
}

}  // namespace hrsam::cpu::HRSAM_ISA

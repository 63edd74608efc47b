// f32 ↔ bf16, rounded to nearest even; or a copy, byte for byte.
#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class Cast : public Op {
 public:
  Cast(int x, int64_t elements, DType from, DType to)
      : x_(x), elements_(elements), from_(from), to_(to) {}

  void run(const Run& run) const override {
    if (from_ == to_) {
      const int64_t bytes = elements_ * dtype_bytes(from_);
      return copy_runs(run.pool, {1, bytes, run.in<char>(x_), 0, run.out<char>(), 0});
    }
    with_floats(from_, [&](auto from) {
      with_floats(to_, [&](auto to) {
        const auto* x = run.in<decltype(from)>(x_);
        auto* y = run.out<decltype(to)>();
        each_piece(run.pool, 1, elements_, 4, [&](int64_t, int64_t begin, int64_t end) {
          map_vectors(
              y + begin, end - begin, [](V v) { return v; }, x + begin);
        });
      });
    });
  }

 private:
  int x_;
  int64_t elements_;
  DType from_, to_;
};

}  // namespace

Op* compile_cast(const Node& node, Compiler&) {
  check_cast(node);
  const Value& x = node.value("x");
  const Value& result = node.result();
  return new Cast(node.operand("x"), x.elements(), x.dtype, result.dtype);
}

}  // namespace hrsam::cpu::HRSAM_ISA

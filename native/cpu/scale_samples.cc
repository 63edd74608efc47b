// x · scale, one number for each sample.
#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

class ScaleSamples : public Op {
 public:
  explicit ScaleSamples(const Node& node)
      : x_(node.operand("x")),
        scale_(node.operand("scale")),
        types_{node.value("x").dtype, node.result().dtype},
        samples_(node.value("x").dims[0]),
        length_(samples_ == 0 ? 0 : node.result().elements() / samples_) {}

  void run(const Run& run) const override {
    const float* scale = run.in<float>(scale_);
    with_floats(types_[0], [&](auto from) {
      with_floats(types_[1], [&](auto to) {
        const auto* x = run.in<decltype(from)>(x_);
        auto* y = run.out<decltype(to)>();
        each_piece(run.pool, samples_, length_, 8, [&](int64_t b, int64_t begin, int64_t end) {
          const int64_t at = b * length_ + begin;
          const V factor = set1(scale[b]);
          map_vectors(
              y + at, end - begin, [factor](V v) { return v * factor; }, x + at);
        });
      });
    });
  }

 private:
  int x_, scale_;
  DType types_[2];
  int64_t samples_, length_;
};

}  // namespace

Op* compile_scale_samples(const Node& node, Compiler&) {
  check_scale_samples(node);
  return new ScaleSamples(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA

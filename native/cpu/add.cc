// a + b, b repeated along the axes where it has one element or none.
//
// Neighbouring axes of a that b has both or lacks both are one: what remains are alternating axes,
// the last of which is the inner loop, over b's elements or over one of them.
#include "../plan/forward_checks.h"
#include "simd.h"
#include "tasks.h"

namespace hrsam::cpu::HRSAM_ISA {

namespace {

struct Axis {
  int64_t size;
  int64_t b_stride;  // in elements; 0: b is repeated
};

class Add : public Op {
 public:
  Add(const Node& node, const Value& a, const Value& b, const Value& result)
      : a_(node.operand("a")), b_(node.operand("b")), types_{a.dtype, b.dtype, result.dtype} {
    int64_t stride = 1;
    for (int i = a.rank - 1, j = b.rank - 1; i >= 0; --i, --j) {
      const int64_t size = a.dims[i], b_size = j >= 0 ? b.dims[j] : 1;
      if (size == 1) continue;
      push(size, b_size == 1 ? 0 : stride);
      stride *= b_size;
    }
    if (count_ == 0) push(1, 0);
  }

  void run(const Run& run) const override {
    with_floats(types_[0], [&](auto a) {
      with_floats(types_[1], [&](auto b) {
        with_floats(types_[2], [&](auto y) { add<decltype(a), decltype(b), decltype(y)>(run); });
      });
    });
  }

 private:
  // From the last axis to the first.
  void push(int64_t size, int64_t b_stride) {
    if (count_ > 0 && (axes_[count_ - 1].b_stride == 0) == (b_stride == 0))
      axes_[count_ - 1].size *= size;
    else
      axes_[count_++] = {size, b_stride};
  }

  template <class A, class B, class Y>
  void add(const Run& run) const {
    const A* a = run.in<A>(a_);
    const B* b = run.in<B>(b_);
    Y* y = run.out<Y>();
    const Axis inner = axes_[0];
    int64_t rows = 1;
    for (int i = 1; i < count_; ++i) rows *= axes_[i].size;
    each_piece(run.pool, rows, inner.size, 8, [&](int64_t row, int64_t begin, int64_t end) {
      const B* from = b;
      for (int64_t i = 1, rest = row; i < count_; ++i) {
        from += rest % axes_[i].size * axes_[i].b_stride;
        rest /= axes_[i].size;
      }
      const int64_t at = row * inner.size + begin;
      if (inner.b_stride == 0) {
        const V number = set1(to_f32(*from));
        map_vectors(
            y + at, end - begin, [number](V v) { return v + number; }, a + at);
      } else {
        map_vectors(
            y + at, end - begin, [](V v, V w) { return v + w; }, a + at, from + begin);
      }
    });
  }

  int a_, b_;
  DType types_[3];
  Axis axes_[HRSAM_MAX_RANK];
  int count_ = 0;
};

}  // namespace

Op* compile_add(const Node& node, Compiler&) {
  check_add(node);
  const Value& a = node.value("a");
  const Value& b = node.value("b");
  const Value& result = node.result();
  return new Add(node, a, b, result);
}

}  // namespace hrsam::cpu::HRSAM_ISA

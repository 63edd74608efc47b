// a + b, b repeated along the axes where it has one element or none. Bound by memory.
//
// Neighbouring axes of a that b has both or lacks both are one: what remains are alternating axes.
#include "../plan/forward_checks.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct AddAxes {
  int count = 0;  // from the last axis to the first
  int64_t size[HRSAM_MAX_RANK];
  int64_t b_stride[HRSAM_MAX_RANK];  // in elements; 0: b is repeated

  void push(int64_t length, int64_t stride) {
    if (count > 0 && (b_stride[count - 1] == 0) == (stride == 0)) {
      size[count - 1] *= length;
    } else {
      size[count] = length;
      b_stride[count++] = stride;
    }
  }
};

template <class A, class B, class Y>
struct Add {
  const A* a;
  const B* b;
  Y* y;
  AddAxes axes;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t quads = divide_up(axes.size[0], 4), column = i % quads * 4;
    int64_t row = i / quads, from = 0;
    const int64_t at = row * axes.size[0] + column;
    for (int k = 1; k < axes.count; ++k) {
      from += row % axes.size[k] * axes.b_stride[k];
      row /= axes.size[k];
    }
    const int count = static_cast<int>(smaller(4, axes.size[0] - column));
    Four v = load_four(a + at, count);
    if (axes.b_stride[0] == 0) {
      const float number = to_f32(b[from]);
#pragma unroll
      for (int k = 0; k < 4; ++k) v.x[k] += number;
    } else {
      const Four w = load_four(b + from + column, count);
#pragma unroll
      for (int k = 0; k < 4; ++k) v.x[k] += w.x[k];
    }
    store_four(y + at, v, count);
  }
};

}  // namespace

Op* compile_add(const Node& node, Compiler&) {
  check_add(node);
  const Value &first = node.value("a"), &second = node.value("b");
  AddAxes axes;
  int64_t stride = 1;
  for (int i = first.rank - 1, j = second.rank - 1; i >= 0; --i, --j) {
    const int64_t size = first.dims[i], b_size = j >= 0 ? second.dims[j] : 1;
    if (size == 1) continue;
    axes.push(size, b_size == 1 ? 0 : stride);
    stride *= b_size;
  }
  if (axes.count == 0) axes.push(1, 0);
  const DType types[] = {first.dtype, second.dtype, node.result().dtype};
  const int64_t rows = axes.size[0] > 0 ? first.elements() / axes.size[0] : 0;
  return make_op([=, a = node.operand("a"), b = node.operand("b")](const Run& run) {
    with_floats(types[0], [&](auto of_a) {
      with_floats(types[1], [&](auto of_b) {
        with_floats(types[2], [&](auto of_y) {
          using A = decltype(of_a);
          using B = decltype(of_b);
          using Y = decltype(of_y);
          each(run.stream, rows * divide_up(axes.size[0], 4),
               Add<A, B, Y>{run.in<A>(a), run.in<B>(b), run.out<Y>(), axes});
        });
      });
    });
  });
}

}  // namespace hrsam::cuda

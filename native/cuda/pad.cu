// x from some position on along an axis, zeros around it. Bound by memory.
#include "../plan/joins.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

template <class Unit>
struct Pad {
  const Unit* x;
  Unit* y;
  PadShape s;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t column = i % s.result_run - s.before;
    y[i] = column >= 0 && column < s.run ? x[i / s.result_run * s.run + column] : Unit{};
  }
};

}  // namespace

Op* compile_pad(const Node& node, Compiler&) {
  const PadShape s = read_pad(node);
  const Value& result = node.result();
  return make_op([=, x = node.operand("x"), n = result.elements(),
                  bytes = dtype_bytes(result.dtype)](const Run& run) {
    if (bytes == 4)
      each(run.stream, n, Pad<uint32_t>{run.in<uint32_t>(x), run.out<uint32_t>(), s});
    else if (bytes == 2)
      each(run.stream, n, Pad<uint16_t>{run.in<uint16_t>(x), run.out<uint16_t>(), s});
    else
      each(run.stream, n, Pad<uint8_t>{run.in<uint8_t>(x), run.out<uint8_t>(), s});
  });
}

}  // namespace hrsam::cuda

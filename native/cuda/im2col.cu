// The pixels under each position of a convolution's kernel as one row, so that a linear does the
// convolution. A thread owns one number of the result; what the padding covers is zero.
#include "../plan/patches.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

template <class Unit>
struct Gather {
  const Unit* x;
  Unit* y;
  PatchShape s;
  HRSAM_DEVICE void operator()(int64_t i) const {
    // The result: (B, rows, columns, k·k·C), the last axis ordered (row, column, channel) or
    // (channel, row, column).
    int64_t rest = i, channel = 0;
    if (s.channels_last) {
      channel = rest % s.channels;
      rest /= s.channels;
    }
    const int64_t dx = rest % s.kernel, dy = rest / s.kernel % s.kernel;
    rest /= s.kernel * s.kernel;
    if (!s.channels_last) {
      channel = rest % s.channels;
      rest /= s.channels;
    }
    const int64_t column = rest % s.columns * s.stride - s.padding + dx;
    const int64_t row = rest / s.columns % s.rows * s.stride - s.padding + dy;
    const int64_t image = rest / (s.columns * s.rows);
    const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
    const int64_t at = s.channels_last
                           ? ((image * s.height + row) * s.width + column) * s.channels + channel
                           : ((image * s.channels + channel) * s.height + row) * s.width + column;
    y[i] = inside ? x[at] : Unit{};
  }
};

}  // namespace

Op* compile_im2col(const Node& node, Compiler&) {
  const PatchShape shape = read_im2col(node);
  const int64_t n = node.result().elements();
  return make_op([=, x = node.operand("x")](const Run& run) {
    if (shape.element_bytes == 4)
      each(run.stream, n, Gather<uint32_t>{run.in<uint32_t>(x), run.out<uint32_t>(), shape});
    else if (shape.element_bytes == 2)
      each(run.stream, n, Gather<uint16_t>{run.in<uint16_t>(x), run.out<uint16_t>(), shape});
    else
      each(run.stream, n, Gather<uint8_t>{run.in<uint8_t>(x), run.out<uint8_t>(), shape});
  });
}

}  // namespace hrsam::cuda

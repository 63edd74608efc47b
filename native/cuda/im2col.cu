// The pixels under each position of a convolution's kernel as one row, so that a linear does the
// convolution. A thread owns one number of the result or, where they lie side by side in both, the
// 16 bytes of several: finding its place takes longer than copying. What the padding covers is
// zero.
#include "../plan/patches.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

// Units are numbers or 16 bytes of them, along a picture's channels or its width, whichever is
// last; shape, kernel and steps across are counted in units.
template <class Unit>
struct Gather {
  const Unit* x;
  Unit* y;
  PatchShape s;
  int64_t across, step, left;  // the kernel's width, and stride and padding along the width
  HRSAM_DEVICE void operator()(int64_t i) const {
    // The result: (B, rows, columns, k·k·C), the last axis ordered (row, column, channel) or
    // (channel, row, column).
    int64_t rest = i, channel = 0;
    if (s.channels_last) {
      channel = rest % s.channels;
      rest /= s.channels;
    }
    const int64_t dx = rest % across, dy = rest / across % s.kernel;
    rest /= across * s.kernel;
    if (!s.channels_last) {
      channel = rest % s.channels;
      rest /= s.channels;
    }
    const int64_t column = rest % s.columns * step - left + dx;
    const int64_t row = rest / s.columns % s.rows * s.stride - s.padding + dy;
    const int64_t image = rest / (s.columns * s.rows);
    const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
    const int64_t at = s.channels_last
                           ? ((image * s.height + row) * s.width + column) * s.channels + channel
                           : ((image * s.channels + channel) * s.height + row) * s.width + column;
    y[i] = inside ? x[at] : Unit{};
  }
};

template <class Unit>
void gather(const Run& run, int x, int64_t n, PatchShape s, int64_t numbers = 1) {
  int64_t across = s.kernel, step = s.stride, left = s.padding;
  if (s.channels_last)
    s.channels /= numbers;
  else
    for (int64_t* length : {&across, &step, &left, &s.width}) *length /= numbers;
  each(run.stream, n / numbers,
       Gather<Unit>{run.in<Unit>(x), run.out<Unit>(), s, across, step, left});
}

// Whether so many numbers always lie side by side.
bool are_together(const PatchShape& s, int64_t numbers) {
  if (s.channels_last) return s.channels % numbers == 0;
  return s.kernel % numbers == 0 && s.stride % numbers == 0 && s.padding % numbers == 0 &&
         s.width % numbers == 0;
}

}  // namespace

Op* compile_im2col(const Node& node, Compiler&) {
  const PatchShape shape = read_im2col(node);
  const int64_t n = node.result().elements();
  return make_op([=, x = node.operand("x")](const Run& run) {
    const int64_t many = 16 / shape.element_bytes;
    if (are_together(shape, many) && is_aligned(run.in<uint8_t>(x), 16))
      gather<uint4>(run, x, n, shape, many);
    else if (shape.element_bytes == 4)
      gather<uint32_t>(run, x, n, shape);
    else if (shape.element_bytes == 2)
      gather<uint16_t>(run, x, n, shape);
    else
      gather<uint8_t>(run, x, n, shape);
  });
}

}  // namespace hrsam::cuda

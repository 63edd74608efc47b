// Gradient of im2col: each pixel gets the sum over the positions of the kernel that saw it.
#include "../plan/patches.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct Scatter {
  Numbers dy;
  NumbersOut dx;
  PatchShape s;
  // One number of the picture.
  HRSAM_DEVICE void operator()(int64_t i) const {
    int64_t rest = i, channel = 0;
    if (s.channels_last) {
      channel = rest % s.channels;
      rest /= s.channels;
    }
    const int64_t x = rest % s.width, y = rest / s.width % s.height;
    rest /= s.width * s.height;
    if (!s.channels_last) {
      channel = rest % s.channels;
      rest /= s.channels;
    }
    float sum = 0;
    for (int64_t ky = 0; ky < s.kernel; ++ky) {
      const int64_t top = y + s.padding - ky;
      if (top < 0 || top % s.stride != 0 || top / s.stride >= s.rows) continue;
      for (int64_t kx = 0; kx < s.kernel; ++kx) {
        const int64_t left = x + s.padding - kx;
        if (left < 0 || left % s.stride != 0 || left / s.stride >= s.columns) continue;
        const int64_t position = (rest * s.rows + top / s.stride) * s.columns + left / s.stride;
        const int64_t tap = ky * s.kernel + kx;
        const int64_t column =
            s.channels_last ? tap * s.channels + channel : channel * s.kernel * s.kernel + tap;
        sum += dy.at(position * s.kernel * s.kernel * s.channels + column);
      }
    }
    dx.put(i, sum);
  }
};

}  // namespace

Op* compile_col2im(const Node& node, Compiler&) {
  const PatchShape shape = read_col2im(node);
  const Value& result = node.result();
  return make_op([=, dy = node.operand("dy"), type = result.dtype,
                  n = result.elements()](const Run& run) {
    each(run.stream, n, Scatter{numbers_of(run.in(dy), type), numbers_to(run.out(), type), shape});
  });
}

}  // namespace hrsam::cuda

// The dense position code of a grid: SAM's code of the centre of every cell. Computed once per
// program, in double precision.
#include "../plan/forward_checks.h"
#include "../plan/position_code.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

struct EncodeGrid {
  const float* gaussian;
  float* out;
  int64_t height, width, half;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t e = i % half, cell = i / half;
    const double x = (static_cast<double>(cell % width) + 0.5) / static_cast<double>(width);
    const double y = (static_cast<double>(cell / width) + 0.5) / static_cast<double>(height);
    const double angle = position_angle(x, gaussian[e]) + position_angle(y, gaussian[half + e]);
    out[cell * 2 * half + e] = static_cast<float>(::sin(angle));
    out[cell * 2 * half + half + e] = static_cast<float>(::cos(angle));
  }
};

}  // namespace

Op* compile_position_encoding(const Node& node, Compiler&) {
  check_position_encoding(node);
  const Value& result = node.result();
  const int64_t height = result.dim(1), width = result.dim(2), half = result.dim(3) / 2;
  return make_op([=, gaussian = node.operand("gaussian")](const Run& run) {
    each(run.stream, height * width * half,
         EncodeGrid{run.in<float>(gaussian), run.out<float>(), height, width, half});
  });
}

}  // namespace hrsam::cuda

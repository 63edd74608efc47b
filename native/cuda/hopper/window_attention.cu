#include "window_attention.h"

#include "../core/hopper.h"
#include "../core/runtime.h"
#include "launch.h"

namespace hrsam::cuda {

bool hopper_window_attention(cudaStream_t stream, const WindowCall& call, int64_t items,
                             const AttendCall& at) {
  using H = HopperWindow;
  const Geometry& g = call.geometry;
  // Rolled windows are no rectangles of tokens.
  if (g.window != H::kSide || g.d != H::kD || g.shift > 0 || at.bias.products != nullptr)
    return false;
  if (hopper_use() == HopperUse::never) return false;
  const int64_t units = items * g.windows * call.heads;
  if (units > INT32_MAX) return false;
  launch({dim3(static_cast<unsigned>(smaller(units, gpu::chip().processors))), dim3(kHopperThreads),
          H::kSharedBytes, stream},
         hopper_window_kernel, call, at, static_cast<uint32_t>(units));
  return true;
}

}  // namespace hrsam::cuda

#include "attention.h"

#include "../core/hopper.h"
#include "launch.h"

namespace hrsam::cuda {

namespace {

// With fewer keys than two tiles nothing overlaps.
constexpr int64_t kFewestKeys = 2 * HopperAttention::kKeys;

}  // namespace

bool hopper_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                      const AttendCall& at) {
  using H = HopperAttention;
  if (call.layout.d != H::kD || call.query_block != H::kQueries || at.bias.products != nullptr ||
      at.partials.statistics != nullptr)
    return false;
  const HopperUse use = hopper_use();
  if (use == HopperUse::never) return false;
  if (use == HopperUse::where_it_pays && call.chunk < kFewestKeys) return false;
  launch({dim3(static_cast<unsigned>(units)), dim3(kHopperThreads), H::kSharedBytes, stream},
         hopper_attention_kernel<SequenceUnit<bf16, int>>, call, at);
  return true;
}

}  // namespace hrsam::cuda

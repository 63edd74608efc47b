// What Hopper's kernels have in common: a block is three warpgroups, of which the first brings what
// the other two multiply, through a ring in shared memory.
#pragma once

#include "../core/kernel.h"
#include "../core/ptx_hopper.h"

namespace hrsam::cuda {

constexpr int kWarpgroup = 128;  // threads
constexpr int kConsumers = 2;    // warpgroups
constexpr int kHopperThreads = (1 + kConsumers) * kWarpgroup;

// The block's shared memory from where swizzles begin; the launch asks for kSwizzleBytes more.
HRSAM_DEVICE unsigned char* swizzled_memory() {
  auto* memory = static_cast<unsigned char*>(shared_memory());
  return memory + (0u - shared_address(memory)) % kSwizzleBytes;
}

// A stage of the ring and the parity of the phase that its use number `turn` ends.
struct Stage {
  int index;
  uint32_t parity;
};
HRSAM_DEVICE Stage stage_of(uint32_t turn, uint32_t stages) {
  return {static_cast<int>(turn % stages), turn / stages & 1};
}

}  // namespace hrsam::cuda

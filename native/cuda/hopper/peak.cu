// What wgmma reaches where nothing else has to be done: a warpgroup's products of 64 x 128 x 16,
// one after the other, of the same 24 KB in shared memory.
#include "../core/hopper.h"
#include "launch.h"
#include "roles.h"

namespace hrsam::cuda {

namespace {

constexpr int kThreads = kConsumers * kWarpgroup;
constexpr int kProducts = 16;  // of a round
constexpr int kBytes = (64 + 128) * 128;

__global__ void __launch_bounds__(kThreads) wgmma_kernel(float* out, int rounds) {
  wait_for_earlier_kernels();
  unsigned char* memory = swizzled_memory();
  for (uint32_t i = threadIdx.x; i < kBytes / 16; i += kThreads)
    reinterpret_cast<uint4*>(memory)[i] =
        make_uint4(any_pair(i * 4), any_pair(i * 4 + 1), any_pair(i * 4 + 2), any_pair(i * 4 + 3));
  show_to_products();
  __syncthreads();
  const uint64_t a = operand_at(memory), b = operand_at(memory + 64 * 128);
  float sums[64];
#pragma unroll
  for (int i = 0; i < 64; ++i) sums[i] = 0;
  for (int round = 0; round < rounds; ++round) {
    if (round == 0) settle(sums);
    begin_products();
#pragma unroll
    for (int i = 0; i < kProducts; ++i) multiply_group(sums, a + i % 4 * 2, b + i % 4 * 2, true);
    commit_products();
    wait_for_products<1>();
  }
  wait_for_products<0>();
  settle(sums);
  float total = 0;
#pragma unroll
  for (int i = 0; i < 64; ++i) total += sums[i];
  out[static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x] = total;
}

}  // namespace

double hopper_peak_rounds(cudaStream_t stream, int blocks, int rounds, float* out) {
  if (hopper_use() == HopperUse::never) return 0;
  launch({dim3(static_cast<unsigned>(blocks)), dim3(kThreads), kSwizzleBytes + kBytes, stream},
         wgmma_kernel, out, rounds);
  return 2.0 * 64 * 128 * 16 * kProducts * kConsumers * blocks * rounds;
}

}  // namespace hrsam::cuda

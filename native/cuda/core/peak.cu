#include "peak.h"

#include <chrono>

#include "../hopper/launch.h"
#include "kernel.h"

namespace hrsam::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kSums = 16;

__global__ void __launch_bounds__(kThreads) ffma_kernel(float* out, int rounds) {
  wait_for_earlier_kernels();
  float sums[kSums];
  const float a = 1.0f + 1e-7f * static_cast<float>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums[i] = static_cast<float>(i);
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] = fmaf(sums[i], a, 1e-7f);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kSums; ++i) total += sums[i];
  out[static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads) mma_kernel(float* out, int rounds) {
  wait_for_earlier_kernels();
  float sums[kSums][4] = {};
  uint32_t a[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) a[i] = any_pair(threadIdx.x * 4 + static_cast<uint32_t>(i));
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kSums; ++i) multiply_add(sums[i], a, a[0], a[1]);
  }
  float total = 0;
#pragma unroll
  for (int i = 0; i < kSums; ++i)
#pragma unroll
    for (int k = 0; k < 4; ++k) total += sums[i][k];
  out[static_cast<size_t>(blockIdx.x) * kThreads + threadIdx.x] = total;
}

}  // namespace

double measure_peak(hrsam_device* device, DType dtype) {
  const bool is_bf16 = dtype == DType::bf16;
  gpu::select(device->ordinal);
  const int blocks = 24 * device->processors;  // whole rounds of whatever number is resident
  DeviceBlock out(device, MemoryKind::cached,
                  sizeof(float) * kThreads * static_cast<size_t>(blocks));
  const cudaStream_t stream = device->streams[0];
  // Per round: 16 multiply-adds a thread, or 16 products of 16 x 8 x 16 a warp.
  const double flops_per_round =
      2.0 * kSums * kThreads * blocks * (is_bf16 ? 16.0 * 8 * 16 / kWarp : 1);
  double best = 0;
  // Longer until a launch takes long enough to be measured; the first one also loads the kernel.
  for (int rounds = 16;; rounds *= 4) {
    const auto begin = std::chrono::steady_clock::now();
    double flops = is_bf16 ? hopper_peak_rounds(stream, blocks, rounds, out.as<float>()) : 0;
    if (flops == 0) {
      flops = flops_per_round * rounds;
      launch({dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0, stream},
             is_bf16 ? mma_kernel : ffma_kernel, out.as<float>(), rounds);
    }
    gpu::wait(stream);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = flops / seconds * 1e-9;
    if (rounds > 16 && (seconds > 0.05 || rounds > (1 << 24))) return best;
  }
}

}  // namespace hrsam::cuda

// Areas and edges of masks, see native/plan/mask_summary.h. A block owns a mask, a warp every
// eighth of its rows; counts and edges are in registers, and in shared memory once at the end.
// Bound by memory.
#include "../plan/mask_summary.h"
#include "core/kernel.h"

namespace hrsam::cuda {

namespace {

constexpr int kThreads = 256;

// How two threads' numbers become one.
HRSAM_DEVICE int combine(int number, int a, int b) {
  if (number < 2) return a + b;
  const bool least = number < 4;
  return (a < b) == least ? a : b;
}

__global__ void __launch_bounds__(kThreads)
    mask_summary_kernel(const __grid_constant__ MaskSummaryShape s, const float* logits,
                        float* out) {
  wait_for_earlier_kernels();
  auto* shared = static_cast<int*>(shared_memory());  // [kMaskNumbers][kThreads]
  const int columns = static_cast<int>(s.columns), rows = static_cast<int>(s.rows);
  int own[kMaskNumbers] = {0, 0, columns, rows, 0, 0};
  const float* mask = logits + static_cast<int64_t>(blockIdx.x) * s.height * s.width;
  const int thread = static_cast<int>(threadIdx.x);
  for (int y = thread / kWarp; y < rows; y += kThreads / kWarp)
    for (int x = thread % kWarp; x < columns; x += kWarp) {
      const float logit = mask[y * s.width + x];
      own[0] += logit > s.high;
      own[1] += logit > s.low;
      if (!(logit > s.threshold)) continue;
      const int edges[] = {x, y, x + 1, y + 1};
#pragma unroll
      for (int k = 0; k < 4; ++k) own[2 + k] = combine(2 + k, own[2 + k], edges[k]);
    }
#pragma unroll
  for (int k = 0; k < kMaskNumbers; ++k) shared[k * kThreads + thread] = own[k];
  __syncthreads();
  for (int step = kThreads / 2; step > 0; step /= 2) {
    if (thread < step)
      for (int k = 0; k < kMaskNumbers; ++k) {
        int* at = shared + k * kThreads + thread;
        *at = combine(k, at[0], at[step]);
      }
    __syncthreads();
  }
  if (thread >= kMaskNumbers) return;
  const bool is_empty = shared[5 * kThreads] == 0;
  const bool is_edge = thread >= 2;
  out[static_cast<int64_t>(blockIdx.x) * kMaskNumbers + thread] =
      is_empty && is_edge ? 0.0f : static_cast<float>(shared[thread * kThreads]);
}

}  // namespace

Op* compile_mask_summary(const Node& node, Compiler&) {
  const MaskSummaryShape s = read_mask_summary(node);
  return make_op([=, logits = node.operand("logits")](const Run& run) {
    if (s.masks == 0) return;
    launch({dim3(static_cast<unsigned>(s.masks)), dim3(kThreads),
            sizeof(int) * kMaskNumbers * kThreads, run.stream},
           mask_summary_kernel, s, run.in<float>(logits), run.out<float>());
  });
}

}  // namespace hrsam::cuda

// Losses: sums over a sample's elements, in double precision and an order that only the shape
// decides.
#pragma once

#include "core/kernel.h"

namespace hrsam::cuda {

constexpr int kSampleThreads = 256;
constexpr int64_t kSamplePiece = 8192;  // elements of a block

inline int64_t sample_pieces(int64_t length) { return larger(1, divide_up(length, kSamplePiece)); }
// Bytes that sum_samples needs.
template <int kCount>
size_t sample_workspace(int64_t samples, int64_t length) {
  return sizeof(double) * static_cast<size_t>(samples * sample_pieces(length) * kCount);
}

// Of all threads, in each of them. Shared memory: kSampleThreads numbers.
template <int kCount>
HRSAM_DEVICE void add_up(double* sums) {
  auto* shared = static_cast<double*>(shared_memory());
  for (int k = 0; k < kCount; ++k) {
    __syncthreads();  // the sums before are read
    shared[threadIdx.x] = sums[k];
    __syncthreads();
    for (unsigned step = kSampleThreads / 2; step > 0; step /= 2) {
      if (threadIdx.x < step) shared[threadIdx.x] += shared[threadIdx.x + step];
      __syncthreads();
    }
    sums[k] = shared[0];
  }
}

template <int kCount, class F>
__global__ void __launch_bounds__(kSampleThreads)
    sample_sums_kernel(const __grid_constant__ F f, int64_t length, int64_t pieces,
                       double* partial) {
  wait_for_earlier_kernels();
  const int64_t sample = blockIdx.x / pieces, piece = blockIdx.x % pieces;
  const int64_t end = smaller(length, (piece + 1) * kSamplePiece);
  double sums[kCount] = {};
  for (int64_t i = piece * kSamplePiece + threadIdx.x; i < end; i += kSampleThreads)
    f.add(sample * length + i, sums);
  add_up<kCount>(sums);
  if (threadIdx.x != 0) return;
  for (int k = 0; k < kCount; ++k) partial[blockIdx.x * kCount + k] = sums[k];
}

template <int kCount, class F>
__global__ void __launch_bounds__(kSampleThreads)
    finish_samples_kernel(const __grid_constant__ F f, int64_t pieces, const double* partial) {
  wait_for_earlier_kernels();
  const double* own = partial + blockIdx.x * pieces * kCount;
  double sums[kCount] = {};
  for (int64_t i = threadIdx.x; i < pieces; i += kSampleThreads)
    for (int k = 0; k < kCount; ++k) sums[k] += own[i * kCount + k];
  add_up<kCount>(sums);
  if (threadIdx.x == 0) f.finish(blockIdx.x, sums);
}

// f.add(element, sums) for all elements, then f.finish(sample, sums) for each sample.
template <int kCount, class F>
void sum_samples(cudaStream_t stream, int64_t samples, int64_t length, void* workspace,
                 const F& f) {
  auto* partial = static_cast<double*>(workspace);
  const int64_t pieces = sample_pieces(length);
  constexpr size_t kShared = sizeof(double) * kSampleThreads;
  launch({dim3(static_cast<unsigned>(samples * pieces)), dim3(kSampleThreads), kShared, stream},
         sample_sums_kernel<kCount, F>, f, length, pieces, partial);
  launch({dim3(static_cast<unsigned>(samples)), dim3(kSampleThreads), kShared, stream},
         finish_samples_kernel<kCount, F>, f, pieces, partial);
}

}  // namespace hrsam::cuda

// Stands in for CUDA where kernels are compiled by a host compiler: enough of the language for the
// kernels in native/cuda to run on the CPU, and to fail there when they are wrong.
//
// A block's threads are fibres. One warp runs ahead to the next barrier, lane by lane, before the
// next starts, in an order that changes from barrier to barrier; shared memory begins as 0xFF bytes
// (NaN in every type of float). A missing barrier then gives wrong numbers, every time. Warp
// functions need all 32 lanes, none of which may have ended; a block whose threads cannot all go on
// ends in an error. What is not caught: memory-ordering races and whatever ptx.h's own instructions
// would do. native/test/ptx does, where there is nvcc.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

#include "hopper.h"

#define __global__
#define __device__
#define __host__
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

using cudaStream_t = struct CUstream_st*;

namespace gpu_on_cpu {

// Tensor cores do not round what they have summed, they cut it off: after 16 products of bf16 to
// the 24 bits of f32, after 32 of e4m3 to about 14 (DeepSeek-V3, arXiv 2412.19437, 3.3.2).
inline float sum_of_products(double exact, int bits) {
  uint64_t pattern;
  std::memcpy(&pattern, &exact, 8);
  pattern &= ~((uint64_t{1} << (53 - bits)) - 1);
  std::memcpy(&exact, &pattern, 8);
  return static_cast<float>(exact);
}

constexpr int kLanes = 32;
constexpr size_t kSlotBytes = 64;

// What a kernel asks about itself.
struct Thread {
  dim3 index, block_index, block_size, grid_size;
};
extern __thread Thread* current __attribute__((tls_model("initial-exec")));

void* shared_memory();
void block_barrier();

// All lanes of the warp put `bytes` bytes; the last to arrive calls finish(slots, context), slots
// being 32 slots of kSlotBytes, which may overwrite them; then each lane takes its own slot back.
// `kind` names the function: all lanes must have called the same.
using Finish = void (*)(unsigned char* slots, void* context);
void warp_exchange(const char* kind, void* data, size_t bytes, Finish finish, void* context);

// Asynchronous copies to shared memory happen as late as they may.
void copy_later(void* to, const void* from, size_t bytes, size_t valid);
void commit_copies();
void wait_for_copies(int newest_that_may_be_under_way);

// Multiprocessors: few, so that all are soon busy.
constexpr int kProcessors = 4;

// Runs a grid block by block, or cluster by cluster: so many neighbours together. Throws
// std::runtime_error.
using Body = void (*)(void* context);
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, Body body, void* context,
              unsigned cluster);
template <class F>
void run_grid(dim3 grid, dim3 block, size_t shared_bytes, const F& body, unsigned cluster = 1) {
  run_grid(
      grid, block, shared_bytes, [](void* context) { (*static_cast<const F*>(context))(); },
      const_cast<F*>(&body), cluster);
}

// Does a launch or a copy, or keeps it while this thread records.
void submit(std::function<void()> work);
void begin_recording();
std::vector<std::function<void()>> end_recording();

template <class T, class Pick>
T shuffle(const char* kind, T value, Pick pick) {
  struct Context {
    Pick pick;
  } context{pick};
  warp_exchange(
      kind, &value, sizeof(T),
      [](unsigned char* slots, void* raw) {
        T values[kLanes];
        for (int lane = 0; lane < kLanes; ++lane)
          std::memcpy(&values[lane], slots + lane * kSlotBytes, sizeof(T));
        for (int lane = 0; lane < kLanes; ++lane)
          std::memcpy(slots + lane * kSlotBytes,
                      &values[static_cast<Context*>(raw)->pick(lane) % kLanes], sizeof(T));
      },
      &context);
  return value;
}

}  // namespace gpu_on_cpu

#define threadIdx (::gpu_on_cpu::current->index)
#define blockIdx (::gpu_on_cpu::current->block_index)
#define blockDim (::gpu_on_cpu::current->block_size)
#define gridDim (::gpu_on_cpu::current->grid_size)

inline void __syncthreads() { ::gpu_on_cpu::block_barrier(); }
inline void __syncwarp() {
  ::gpu_on_cpu::warp_exchange(
      "__syncwarp", nullptr, 0, [](unsigned char*, void*) {}, nullptr);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return ::gpu_on_cpu::shuffle("__shfl_xor_sync", value, [mask](int lane) { return lane ^ mask; });
}
template <class T>
T __shfl_sync(unsigned, T value, int from) {
  // Every lane names the lane it wants.
  struct Wish {
    T value;
    int from;
  } wish{value, from};
  ::gpu_on_cpu::warp_exchange(
      "__shfl_sync", &wish, sizeof(wish),
      [](unsigned char* slots, void*) {
        Wish all[::gpu_on_cpu::kLanes];
        for (int lane = 0; lane < ::gpu_on_cpu::kLanes; ++lane)
          std::memcpy(&all[lane], slots + lane * ::gpu_on_cpu::kSlotBytes, sizeof(Wish));
        for (int lane = 0; lane < ::gpu_on_cpu::kLanes; ++lane)
          std::memcpy(slots + lane * ::gpu_on_cpu::kSlotBytes,
                      &all[all[lane].from % ::gpu_on_cpu::kLanes].value, sizeof(T));
      },
      nullptr);
  return wish.value;
}

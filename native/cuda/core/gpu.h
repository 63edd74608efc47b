// The kernel language, on a GPU and on the CPU.
//
// Kernels are written once. nvcc compiles them for GPUs; in tests a host compiler builds the same
// files against native/test/cuda/gpu_on_cpu.h, where a block's threads are fibres. Kernels keep to
// what both sides have: shared memory comes from shared_memory(), launches go through launch(), and
// inline PTX is in ptx.h alone. The first thing they do, but for what touches no global memory, is
// to call wait_for_earlier_kernels().
#pragma once

#include <cstddef>
#include <cstdint>
#include <tuple>
#include <utility>

#include "../../plan/failure.h"

#ifdef HRSAM_GPU
#include <cuda_runtime.h>
#define HRSAM_BOTH __host__ __device__ __forceinline__
#define HRSAM_DEVICE __device__ __forceinline__
#else
#include "gpu_on_cpu.h"
#define HRSAM_BOTH inline
#define HRSAM_DEVICE inline
#endif

namespace hrsam::cuda {

struct Launch {
  dim3 grid, block;
  size_t shared_bytes;
  cudaStream_t stream;
  unsigned cluster = 1;  // neighbouring blocks that run together; more than one on Hopper alone
};

// More than this must be asked for.
constexpr size_t kPlainSharedBytes = 48 << 10;

#ifdef HRSAM_GPU

// Errors after which all calls for that GPU fail until the process ends.
constexpr bool is_lost(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorMpsClientTerminated:
      return true;
    default:
      return false;
  }
}

inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  if (status == cudaErrorMemoryAllocation)
    plan::fail("ERR_OUT_OF_MEMORY", "cuda: %s: the GPU's memory is full", what);
  const bool lost = is_lost(status);
  plan::fail(lost ? "ERR_DEVICE_LOST" : "ERR_DEVICE", "cuda: %s: %s (%s)%s", what,
             cudaGetErrorString(status), cudaGetErrorName(status),
             lost ? "; this process cannot use the GPU any more: restart it" : "");
}

inline void allow_shared_bytes(const void* function, size_t bytes) {
  if (bytes > kPlainSharedBytes)
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(bytes)),
          "shared memory for a kernel");
}

// Whether a kernel waits by itself for those before it (wait_for_earlier_kernels in ptx.h), so that
// it may be started early, and HRSAM_CUDA_PDL lets it.
bool starts_early(const void* function);

// `attributes` must live as long as what this returns.
inline cudaLaunchConfig_t configuration(const Launch& at, bool early,
                                        cudaLaunchAttribute (&attributes)[2]) {
  cudaLaunchConfig_t made{};
  made.gridDim = at.grid;
  made.blockDim = at.block;
  made.dynamicSmemBytes = at.shared_bytes;
  made.stream = at.stream;
  made.attrs = attributes;
  if (at.cluster > 1) {
    cudaLaunchAttribute& cluster = attributes[made.numAttrs++] = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim = {at.cluster, 1, 1};
  }
  if (early) {
    cudaLaunchAttribute& overlap = attributes[made.numAttrs++] = {};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
  }
  return made;
}

// How many of the launch's clusters the GPU runs at once.
template <class... Parameters>
int active_clusters(const Launch& at, void (*kernel)(Parameters...)) {
  const void* function = reinterpret_cast<const void*>(kernel);
  allow_shared_bytes(function, at.shared_bytes);
  Launch one = at;
  one.grid = dim3(at.cluster);
  cudaLaunchAttribute attributes[2];
  const cudaLaunchConfig_t config = configuration(one, false, attributes);
  int found = 0;
  check(cudaOccupancyMaxActiveClusters(&found, function, &config), "counting clusters");
  return found;
}

// kernel<<<grid, block, shared_bytes, stream>>>(arguments...); nothing for an empty grid.
template <class... Parameters, class... Arguments>
void launch(const Launch& at, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (at.grid.x == 0 || at.grid.y == 0 || at.grid.z == 0) return;
  const void* function = reinterpret_cast<const void*>(kernel);
  allow_shared_bytes(function, at.shared_bytes);
  std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  std::apply(
      [&](auto&... each) {
        void* list[] = {const_cast<void*>(static_cast<const void*>(&each))...};
        cudaLaunchAttribute attributes[2];
        const cudaLaunchConfig_t config = configuration(at, starts_early(function), attributes);
        check(cudaLaunchKernelExC(&config, function, list), "launching a kernel");
      },
      values);
}

// The block's shared memory, as many bytes as the launch asked for.
HRSAM_DEVICE void* shared_memory() {
  extern __shared__ __align__(128) unsigned char memory[];
  return memory;
}

#else

template <class... Parameters>
int active_clusters(const Launch& at, void (*)(Parameters...)) {
  return gpu_on_cpu::kProcessors / static_cast<int>(at.cluster);
}

template <class... Parameters, class... Arguments>
void launch(const Launch& at, void (*kernel)(Parameters...), Arguments&&... arguments) {
  const std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  gpu_on_cpu::submit([=] {
    gpu_on_cpu::run_grid(
        at.grid, at.block, at.shared_bytes, [&] { std::apply(kernel, values); }, at.cluster);
  });
}

inline void* shared_memory() { return gpu_on_cpu::shared_memory(); }

#endif

}  // namespace hrsam::cuda

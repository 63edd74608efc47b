#include "runtime.h"

#include <cuda.h>  // types alone: the driver's functions are looked up at run time

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "settings.h"

namespace hrsam::cuda::gpu {

namespace {

using plan::fail;

// The first driver branch that runs this runtime: CUDA 12 and 13 each run on every driver of their
// major version.
constexpr int kDriverBranch = CUDART_VERSION >= 13000 ? 580 : 525;

// 0 where there is no driver at all.
int driver_version() {
  int version = 0;
  cudaDriverGetVersion(&version);
  return version;
}

constexpr int major_of(int version) { return version / 1000; }
constexpr int minor_of(int version) { return version % 1000 / 10; }

// What was looked for, what was found, what to do.
[[noreturn]] void fail_without_driver() {
  const int version = driver_version();
  char found[48] = "found none";
  if (version != 0)
    std::snprintf(found, sizeof(found), "found one for CUDA %d.%d", major_of(version),
                  minor_of(version));
  fail("ERR_DEVICE",
       "cuda: no NVIDIA driver, or too old for CUDA %d (needs r%d or newer): looked for "
       "libcuda.so.1, %s. Install a driver, or use the device 'cpu'",
       major_of(CUDART_VERSION), kDriverBranch, found);
}

class CudaGraph : public Graph {
 public:
  explicit CudaGraph(cudaGraphExec_t executable) : executable_(executable) {}
  ~CudaGraph() override { cudaGraphExecDestroy(executable_); }
  void launch(cudaStream_t stream) override {
    check(cudaGraphLaunch(executable_, stream), "launching a program");
  }

 private:
  cudaGraphExec_t executable_;
};

}  // namespace

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) fail_without_driver();
  if (status == cudaErrorNoDevice)
    fail("ERR_DEVICE",
         "cuda: the NVIDIA driver answers but shows no GPU. Look at nvidia-smi and at "
         "CUDA_VISIBLE_DEVICES, or use the device 'cpu'");
  check(status, "the GPUs cannot be listed");
  return count;
}

Properties properties(int ordinal) {
  cudaDeviceProp found{};
  check(cudaGetDeviceProperties(&found, ordinal), "a GPU's properties");
  const int driver = driver_version();
  Properties made{};
  std::snprintf(made.name, sizeof(made.name), "%.100s", found.name);
  std::snprintf(made.detail, sizeof(made.detail),
                "compute capability %d.%d, %d multiprocessors, driver for CUDA %d.%d, built with "
                "CUDA %d.%d",
                found.major, found.minor, found.multiProcessorCount, major_of(driver),
                minor_of(driver), major_of(CUDART_VERSION), minor_of(CUDART_VERSION));
  made.memory_bytes = found.totalGlobalMem;
  made.capability = found.major * 10 + found.minor;
  made.processors = found.multiProcessorCount;
  made.shared_bytes = found.sharedMemPerBlockOptin;
  return made;
}

void select(int ordinal) { check(cudaSetDevice(ordinal), "choosing a GPU"); }

Chip chip() {
  int device = 0, major = 0, minor = 0, processors = 0;
  check(cudaGetDevice(&device), "the GPU in use");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "its kind");
  check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "its kind");
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "its size");
  return {major * 10 + minor, processors};
}

bool map_boxes(const Boxes& boxes, TensorMap* map) {
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) &&
                alignof(TensorMap) >= alignof(CUtensorMap));
  // Looked up: the library must load where there is no driver.
  static const auto encode = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result{};
    const cudaError_t status = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found,
                                                                12000, cudaEnableDefault, &result);
    const bool good = status == cudaSuccess && result == cudaDriverEntryPointSuccess;
    return good ? reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found) : nullptr;
  }();
  if (encode == nullptr) return false;
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(boxes.columns),
                               static_cast<cuuint64_t>(boxes.rows),
                               static_cast<cuuint64_t>(boxes.items)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(boxes.row_stride),
                                 static_cast<cuuint64_t>(boxes.item_stride)};
  const cuuint32_t box[3] = {kBoxColumns, static_cast<cuuint32_t>(boxes.box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  // Copied bit for bit, be they bf16 or pairs of e4m3.
  return CUDA_SUCCESS == encode(reinterpret_cast<CUtensorMap*>(map), CU_TENSOR_MAP_DATA_TYPE_UINT16,
                                3, const_cast<void*>(boxes.data), sizes, strides, box, steps,
                                CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

void* allocate(size_t bytes) {
  // No driver need be asked for more than there is, whatever it would answer.
  size_t unused = 0, all = 0;
  if (cudaMemGetInfo(&unused, &all) == cudaSuccess && bytes > all) return nullptr;
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not to be reported by whoever asks next
    return nullptr;
  }
  check(status, "device memory");
  return data;
}

void release(void* data) { cudaFree(data); }

void forget_content(void*, size_t) {}

void* allocate_pinned(size_t bytes) {
  void* data = nullptr;
  if (cudaMallocHost(&data, bytes) == cudaSuccess) return data;
  cudaGetLastError();
  return nullptr;
}

void release_pinned(void* data) { cudaFreeHost(data); }

uint64_t free_bytes() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "the GPU's free memory");
  return free;
}

cudaStream_t create_stream(bool urgent) {
  int least = 0, greatest = 0;
  check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "stream priorities");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, urgent ? greatest : least),
        "a stream");
  return stream;
}

void destroy_stream(cudaStream_t stream) { cudaStreamDestroy(stream); }

void copy_in(void* to, const void* host, size_t bytes, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream), "an upload");
}

void copy_out(void* host, const void* from, size_t bytes, cudaStream_t stream) {
  check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream), "a download");
}

void copy(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "a copy");
}

void wait(cudaStream_t stream) { check(cudaStreamSynchronize(stream), "running kernels"); }

bool is_done(cudaStream_t stream) {
  const cudaError_t status = cudaStreamQuery(stream);
  if (status == cudaErrorNotReady) return false;
  check(status, "running kernels");
  return true;
}

void begin_recording(cudaStream_t stream) {
  // Other threads may allocate meanwhile, and a kernel's first launch loads its code.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "recording a program");
}

void abandon_recording(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  cudaStreamEndCapture(stream, &graph);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaGetLastError();  // what went wrong is known already
}

std::unique_ptr<Graph> end_recording(cudaStream_t stream) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamEndCapture(stream, &graph), "recording a program");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "recording a program");
  return std::make_unique<CudaGraph>(executable);
}

}  // namespace hrsam::cuda::gpu

namespace hrsam::cuda {

bool starts_early(const void* function) {
  static const std::string wanted = switch_setting("HRSAM_CUDA_PDL");
  // Recorded, it is an edge of a kind that graphs have from CUDA 12.3 on.
  static const bool is_recorded = gpu::driver_version() >= 12030;
  if (wanted == "0" || !is_recorded) return false;
  cudaFuncAttributes found{};
  check(cudaFuncGetAttributes(&found, function), "a kernel's code");
  // What the driver made of older PTX does not wait. On 12.0 such launches were seen to fail while
  // a stream was captured (sgl-project/sglang, pull request 18596).
  return found.ptxVersion >= 90 && (wanted == "1" || found.binaryVersion < 120);
}

}  // namespace hrsam::cuda

// The part of the CUDA runtime that the backend uses, on the machine of machine.h: the backend's
// library is linked with it instead of NVIDIA's. Launches have ended when they return.
#include <cuda.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>

#include "counts.h"
#include "machine.h"
#include "tensor_boxes.h"

namespace {

using ptx::Code;

struct Kernel {
  struct Binary* binary = nullptr;
  std::string name;
  std::shared_ptr<const Code> code;
  size_t most_shared = 48 << 10;
};
struct Binary {
  std::string text;
  int target = 0;  // 90: .target sm_90 or sm_90a
  bool parsed = false;
  ptx::Module module;
  std::vector<std::vector<uint8_t>> variables;
  std::map<std::string, uint64_t> globals;
};

struct State {
  std::mutex mutex;
  std::map<const void*, Kernel> kernels;
  ptx::Memory memory;
  std::map<void*, size_t> blocks;
  cudaError_t lost = cudaSuccess;
  thread_local static cudaError_t last;
};
thread_local cudaError_t State::last = cudaSuccess;
State& state() {
  static State* made = new State;
  return *made;
}

// Few, so that all are soon busy; as many as an H200 has where what they do is counted.
size_t memory_bytes() { return size_t{ptx::Counts::wanted() == nullptr ? 4u : 141u} << 30; }
int multiprocessors() { return ptx::Counts::wanted() == nullptr ? 4 : 132; }

bool is_hopper() {
  const char* gpu = std::getenv("HRSAM_TEST_GPU");
  return gpu != nullptr && std::strcmp(gpu, "hopper") == 0;
}
int capability() { return is_hopper() ? 90 : 80; }

int target_of(const char* ptx) {
  const char* at = std::strstr(ptx, ".target sm_");
  return at == nullptr ? 0 : std::atoi(at + 11);
}

cudaError_t give(cudaError_t status) {
  if (status != cudaSuccess) State::last = status;
  return status;
}

using Work = std::function<cudaError_t()>;
struct Stream {
  bool recording = false;
  std::vector<Work> works;
};

cudaError_t submit(cudaStream_t at, Work work) {
  auto* stream = reinterpret_cast<Stream*>(at);
  if (stream != nullptr && stream->recording) {
    stream->works.push_back(std::move(work));
    return cudaSuccess;
  }
  return work();
}

uint64_t seed() {
  static std::atomic<uint64_t> count{0};
  const char* value = std::getenv("HRSAM_PTX_SEED");
  return (value != nullptr ? std::strtoull(value, nullptr, 10) : 0) * 1000003 + count++;
}

cudaError_t run(const ptx::Launch& launch) {
  State& s = state();
  std::lock_guard<std::mutex> lock(s.mutex);
  if (s.lost != cudaSuccess) return s.lost;
  try {
    ptx::run(launch, s.memory, seed(), ptx::Counts::wanted());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ptx: %s\n", error.what());
    s.lost = cudaErrorIllegalAddress;
  }
  return s.lost;
}

const Code& code_of(Kernel& kernel) {
  if (kernel.code != nullptr) return *kernel.code;
  Binary& binary = *kernel.binary;
  if (!binary.parsed) {
    binary.module = ptx::parse(binary.text);
    for (const auto& global : binary.module.globals) {
      auto& bytes = binary.variables.emplace_back(global.bytes + 16);
      std::memcpy(bytes.data(), global.content.data(), global.content.size());
      binary.globals[global.name] = reinterpret_cast<uint64_t>(bytes.data());
      state().memory.add(bytes.data(), global.bytes, false);
    }
    binary.parsed = true;
  }
  kernel.code = ptx::decode(binary.module.functions.at(kernel.name), binary.globals);
  return *kernel.code;
}

// Whether a binary's kernels wait for those before them: those are to be started early, no others.
bool waits(const Binary& binary) {
  const char* wanted = std::getenv("HRSAM_CUDA_PDL");
  return binary.target >= 90 && (wanted == nullptr || *wanted != '0');
}

cudaError_t launch(const void* function, dim3 grid, dim3 block, void** arguments, size_t shared,
                   cudaStream_t stream, unsigned cluster, bool early) {
  State& s = state();
  ptx::Launch made;
  {
    std::lock_guard<std::mutex> lock(s.mutex);
    const auto found = s.kernels.find(function);
    if (found == s.kernels.end()) return cudaErrorInvalidDeviceFunction;
    Kernel& kernel = found->second;
    try {
      code_of(kernel);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "ptx: %s\n", error.what());
      return cudaErrorInvalidPtx;
    }
    made.code = kernel.code;
    const Code& code = *kernel.code;
    const char* why = nullptr;
    const unsigned threads = block.x * block.y * block.z;
    if (kernel.binary->target > capability()) return cudaErrorNoKernelImageForDevice;
    if (threads == 0 || threads > 1024 ||
        (code.most_threads != 0 && threads > static_cast<unsigned>(code.most_threads)))
      why = "threads";
    if (block.z > 64) why = "threads in z";
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 ||
        grid.x > 0x7fffffff)
      why = "blocks";
    if (shared > kernel.most_shared) why = "shared memory";
    if (cluster > 8 || grid.x % cluster != 0 || (cluster > 1 && !is_hopper())) why = "clusters";
    if (early != waits(*kernel.binary)) why = "start";
    if (why != nullptr) {
      std::fprintf(stderr, "ptx: a launch that is not allowed for its %s: %s\n", why,
                   code.name.c_str());
      return cudaErrorInvalidValue;
    }
    made.grid = {grid.x, grid.y, grid.z};
    made.block = {block.x, block.y, block.z};
    made.shared_bytes = shared;
    made.cluster = cluster;
    made.early = early;
    made.parameters.resize(code.parameter_bytes);
    for (size_t i = 0; i < code.parameters.size(); ++i)
      std::memcpy(made.parameters.data() + code.parameters[i].offset, arguments[i],
                  code.parameters[i].bytes);
  }
  return submit(stream, [made] { return run(made); });
}

CUresult encode_tiled(CUtensorMap* map, CUtensorMapDataType type, cuuint32_t rank, void* data,
                      const cuuint64_t* sizes, const cuuint64_t* strides, const cuuint32_t* box,
                      const cuuint32_t* steps, CUtensorMapInterleave interleave,
                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                      CUtensorMapFloatOOBfill fill) {
  bool good = reinterpret_cast<uintptr_t>(map) % 64 == 0 &&
              type == CU_TENSOR_MAP_DATA_TYPE_UINT16 && rank == 3 &&
              reinterpret_cast<uintptr_t>(data) % 16 == 0 &&
              interleave == CU_TENSOR_MAP_INTERLEAVE_NONE &&
              swizzle == CU_TENSOR_MAP_SWIZZLE_128B && fill == CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  for (int k = 0; k < 3; ++k)
    good = good && sizes[k] > 0 && sizes[k] <= (uint64_t{1} << 32) && box[k] > 0 && box[k] <= 256 &&
           steps[k] == 1;
  for (int k = 0; k < 2; ++k)
    good = good && strides[k] % 16 == 0 && strides[k] < (uint64_t{1} << 40) && strides[k] > 0;
  good = good && box[0] * 2 == 128 && box[2] == 1;
  if (!good) return CUDA_ERROR_INVALID_VALUE;
  ptx::TensorBoxes made;
  made.data = reinterpret_cast<uint64_t>(data);
  for (int k = 0; k < 3; ++k) made.sizes[k] = static_cast<int64_t>(sizes[k]);
  for (int k = 0; k < 2; ++k) made.strides[k] = static_cast<int64_t>(strides[k]);
  made.rows = box[1];
  static_assert(sizeof(made) <= sizeof(CUtensorMap));
  std::memset(map, 0, sizeof(*map));
  std::memcpy(map, &made, sizeof(made));
  return CUDA_SUCCESS;
}

struct Graph {
  std::vector<Work> works;
};

}  // namespace

extern "C" {

void** __cudaRegisterFatBinary(void* wrapper) {
  struct Wrapper {
    int magic, version;
    const uint8_t* data;
    void* more;
  };
  const uint8_t* data = static_cast<const Wrapper*>(wrapper)->data;
  uint64_t bytes;
  std::memcpy(&bytes, data + 8, 8);
  auto* binary = new Binary;
  // Pieces, each after a header of its own: machine code of kind 2, PTX of kind 1.
  for (const uint8_t *at = data + 16, *end = at + bytes; at < end;) {
    uint16_t kind;
    uint32_t header;
    uint64_t size;
    std::memcpy(&kind, at, 2);
    std::memcpy(&header, at + 4, 4);
    std::memcpy(&size, at + 8, 8);
    if (kind == 1) {  // the best for this GPU
      const char* text = reinterpret_cast<const char*>(at + header);
      const int target = target_of(text);
      if (binary->target == 0 || (target <= capability() && target > binary->target)) {
        binary->text = text;
        binary->target = target;
      }
    }
    at += header + size;
  }
  return reinterpret_cast<void**>(binary);
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void** binary, const char* host, char*, const char* name, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  Kernel kernel;
  kernel.binary = reinterpret_cast<Binary*>(binary);
  kernel.name = name;
  state().kernels[host] = kernel;
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
unsigned __cudaPushCallConfiguration(dim3, dim3, size_t, void*) { std::abort(); }
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, size_t*, void*) { std::abort(); }
cudaError_t __cudaGetKernel(void**, const void*) { std::abort(); }
cudaError_t __cudaLaunchKernel(void*, dim3, dim3, void**, size_t, cudaStream_t) { std::abort(); }

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function,
                                void** arguments) {
  unsigned cluster = 1;
  bool early = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == cudaLaunchAttributeClusterDimension)
      cluster = attribute.val.clusterDim.x;
    else if (attribute.id == cudaLaunchAttributeProgrammaticStreamSerialization)
      early = attribute.val.programmaticStreamSerializationAllowed != 0;
    else
      return give(cudaErrorInvalidValue);
  }
  return give(launch(function, config->gridDim, config->blockDim, arguments,
                     config->dynamicSmemBytes, config->stream, cluster, early));
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* made, const void* function) {
  State& s = state();
  std::lock_guard<std::mutex> lock(s.mutex);
  const auto found = s.kernels.find(function);
  if (found == s.kernels.end()) return give(cudaErrorInvalidDeviceFunction);
  *made = {};
  made->ptxVersion = found->second.binary->target;
  made->binaryVersion = capability();
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* found, const void* function,
                                           const cudaLaunchConfig_t* config) {
  State& s = state();
  std::lock_guard<std::mutex> lock(s.mutex);
  const auto kernel = s.kernels.find(function);
  if (kernel == s.kernels.end() || config->dynamicSmemBytes > kernel->second.most_shared)
    return give(cudaErrorInvalidValue);
  *found = multiprocessors() / static_cast<int>(config->attrs[0].val.clusterDim.x);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  State& s = state();
  std::lock_guard<std::mutex> lock(s.mutex);
  const auto found = s.kernels.find(function);
  if (found == s.kernels.end() || attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
    return give(cudaErrorInvalidValue);
  if (value > ((is_hopper() ? 227 : 163) << 10)) return give(cudaErrorInvalidValue);
  found->second.most_shared = static_cast<size_t>(value);
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "an error";
}
const char* cudaGetErrorName(cudaError_t error) {
  static thread_local char name[32];
  std::snprintf(name, sizeof(name), "error %d", static_cast<int>(error));
  return name;
}
cudaError_t cudaGetLastError() { return std::exchange(State::last, cudaSuccess); }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* made, int) {
  *made = {};
  std::strcpy(made->name, "PTX on the CPU");
  made->major = is_hopper() ? 9 : 8;
  made->multiProcessorCount = multiprocessors();
  made->totalGlobalMem = memory_bytes();
  made->sharedMemPerBlockOptin = static_cast<size_t>(is_hopper() ? 227 : 163) << 10;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : give(cudaErrorInvalidDevice);
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = is_hopper() ? 9 : 8;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = multiprocessors();
      return cudaSuccess;
    default:
      return give(cudaErrorInvalidValue);
  }
}
cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                             unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const bool known = std::strcmp(name, "cuTensorMapEncodeTiled") == 0;
  *function = known ? reinterpret_cast<void*>(&encode_tiled) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = *total = memory_bytes();
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** data, size_t bytes) {
  State& s = state();
  std::lock_guard<std::mutex> lock(s.mutex);
  if (posix_memalign(data, 256, bytes) != 0) return give(cudaErrorMemoryAllocation);
  std::memset(*data, 0xff, bytes);
  s.memory.add(*data, bytes);
  s.blocks[*data] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  if (data == nullptr) return cudaSuccess;
  State& s = state();
  std::lock_guard<std::mutex> lock(s.mutex);
  s.memory.remove(data);
  s.blocks.erase(data);
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  *data = std::malloc(bytes);
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* data) {
  std::free(data);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) {
  *stream = reinterpret_cast<cudaStream_t>(new Stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete reinterpret_cast<Stream*>(stream);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return give(submit(stream, [=] {
    State& s = state();
    std::lock_guard<std::mutex> lock(s.mutex);
    if (s.lost != cudaSuccess) return s.lost;
    const auto on_device = [&](const void* at, bool write) {
      return s.memory.allows(reinterpret_cast<uint64_t>(at), bytes, write);
    };
    const bool good = bytes == 0 || ((kind == cudaMemcpyHostToDevice || on_device(from, false)) &&
                                     (kind == cudaMemcpyDeviceToHost || on_device(to, true)));
    if (!good) return cudaErrorInvalidValue;
    std::memmove(to, from, bytes);
    return cudaSuccess;
  }));
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return give(state().lost); }
cudaError_t cudaStreamQuery(cudaStream_t) { return give(state().lost); }
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  auto* at = reinterpret_cast<Stream*>(stream);
  at->recording = true;
  at->works.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  auto* at = reinterpret_cast<Stream*>(stream);
  at->recording = false;
  *graph = reinterpret_cast<cudaGraph_t>(new Graph{std::move(at->works)});
  at->works.clear();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t graph, unsigned long long) {
  *made = reinterpret_cast<cudaGraphExec_t>(new Graph(*reinterpret_cast<Graph*>(graph)));
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  delete reinterpret_cast<Graph*>(graph);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t) {
  for (const Work& work : reinterpret_cast<Graph*>(graph)->works)
    if (const cudaError_t status = work(); status != cudaSuccess) return give(status);
  return cudaSuccess;
}

}  // extern "C"

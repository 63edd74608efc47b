// The CUDA backend as far as it goes: lists the GPUs and says why one cannot be used. Its ops are
// not built yet, so no device opens, and nothing behind an open device is ever asked for.
#include <cuda_runtime.h>

#include <cstdarg>
#include <cstdio>

#include "hrsam_backend.h"

namespace {

// The first driver branch that runs this runtime: CUDA 12 and 13 each run on every driver of their
// major version.
constexpr int kDriverBranch = CUDART_VERSION >= 13000 ? 580 : 525;

constexpr int major_of(int version) { return version / 1000; }
constexpr int minor_of(int version) { return version % 1000 / 10; }

int fail(hrsam_error* error, const char* format, ...) __attribute__((format(printf, 2, 3)));

int fail(hrsam_error* error, const char* format, ...) {
  std::snprintf(error->code, sizeof(error->code), "ERR_DEVICE");
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error->message, sizeof(error->message), format, arguments);
  va_end(arguments);
  return -1;
}

// What was looked for, what was found, what to do.
int fail_without_driver(hrsam_error* error) {
  int version = 0;
  cudaDriverGetVersion(&version);  // 0 where there is no driver at all
  char found[48] = "found none";
  if (version != 0)
    std::snprintf(found, sizeof(found), "found one for CUDA %d.%d", major_of(version),
                  minor_of(version));
  return fail(error,
              "cuda: no NVIDIA driver, or too old for CUDA %d (needs r%d or newer): looked for "
              "libcuda.so.1, %s. Install a driver, or use the device 'cpu'",
              major_of(CUDART_VERSION), kDriverBranch, found);
}

int32_t device_count(hrsam_error* error) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) return fail_without_driver(error);
  if (status == cudaErrorNoDevice)
    return fail(error,
                "cuda: the NVIDIA driver answers but shows no GPU. Look at nvidia-smi and at "
                "CUDA_VISIBLE_DEVICES, or use the device 'cpu'");
  if (status != cudaSuccess)
    return fail(error, "cuda: the GPUs cannot be listed: %s (%s)", cudaGetErrorString(status),
                cudaGetErrorName(status));
  return count;
}

int check_ordinal(int32_t ordinal, hrsam_error* error) {
  const int32_t count = device_count(error);
  if (count < 0) return -1;
  if (ordinal < 0 || ordinal >= count)
    return fail(error, "cuda:%d: there are %d GPUs, cuda:0 to cuda:%d", ordinal, count, count - 1);
  return 0;
}

int device_info(int32_t ordinal, hrsam_device_info* info, hrsam_error* error) {
  if (check_ordinal(ordinal, error) != 0) return -1;
  cudaDeviceProp properties{};
  const cudaError_t status = cudaGetDeviceProperties(&properties, ordinal);
  if (status != cudaSuccess)
    return fail(error, "cuda:%d: %s (%s)", ordinal, cudaGetErrorString(status),
                cudaGetErrorName(status));
  int driver = 0;
  cudaDriverGetVersion(&driver);
  *info = {};
  std::snprintf(info->name, sizeof(info->name), "%.100s", properties.name);
  std::snprintf(info->detail, sizeof(info->detail),
                "compute capability %d.%d, driver for CUDA %d.%d, built with CUDA %d.%d; lists the "
                "GPU only, its ops are not built yet",
                properties.major, properties.minor, major_of(driver), minor_of(driver),
                major_of(CUDART_VERSION), minor_of(CUDART_VERSION));
  info->memory_bytes = properties.totalGlobalMem;
  return 0;
}

int device_open(int32_t ordinal, hrsam_device**, hrsam_error* error) {
  hrsam_device_info info;
  if (device_info(ordinal, &info, error) != 0) return -1;
  return fail(error,
              "cuda:%d (%s): the GPU and its driver answer, but this version's CUDA backend has no "
              "ops yet and cannot run a model. Use the device 'cpu'",
              ordinal, info.name);
}

const hrsam_backend kBackend = {
    .abi_version = HRSAM_ABI_VERSION,
    .name = "cuda",
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const hrsam_backend* hrsam_backend_entry() {
  return &kBackend;
}

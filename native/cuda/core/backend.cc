// The C ABI of the CUDA backend: turns exceptions into error codes, nothing else.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>

#include "../../plan/guarded.h"
#include "../../plan/thread_count.h"
#include "hrsam_backend.h"
#include "mask_runs.h"
#include "peak.h"
#include "program.h"

namespace gpu = hrsam::cuda::gpu;
using hrsam::cuda::DeviceBlock;
using hrsam::cuda::MemoryKind;
using hrsam::plan::check_range;
using hrsam::plan::fail;
using hrsam::plan::guarded;

namespace {

void check_ordinal(int32_t ordinal) {
  const int count = gpu::device_count();
  if (ordinal < 0 || ordinal >= count)
    fail("ERR_DEVICE", "cuda:%d: there %s, cuda:0%s", ordinal,
         count == 1 ? "is one GPU" : "are several GPUs",
         count == 1 ? "" : (" to cuda:" + std::to_string(count - 1)).c_str());
}

int32_t device_count(hrsam_error* error) {
  return guarded(
      error, [] { return gpu::device_count(); }, -1);
}

int device_info(int32_t ordinal, hrsam_device_info* info, hrsam_error* error) {
  return guarded(error, [&] {
    check_ordinal(ordinal);
    const gpu::Properties properties = gpu::properties(ordinal);
    *info = {};
    std::snprintf(info->name, sizeof(info->name), "%s", properties.name);
    std::snprintf(info->detail, sizeof(info->detail), "%s", properties.detail);
    info->memory_bytes = properties.memory_bytes;
    return 0;
  });
}

int device_open(int32_t ordinal, hrsam_device** device, hrsam_error* error) {
  return guarded(error, [&] {
    check_ordinal(ordinal);
    *device = new hrsam_device(ordinal);
    return 0;
  });
}

void device_close(hrsam_device* device) { delete device; }

int device_set_threads(hrsam_device*, int32_t threads, hrsam_error* error) {
  return guarded(error, [&] {
    hrsam::plan::check_threads(threads);
    return 0;  // a GPU has its own
  });
}

void device_memory(hrsam_device* device, hrsam_memory_info* info) { device->memory.report(info); }

void device_trim(hrsam_device* device) {
  hrsam_error error;
  guarded(&error, [&] {
    device->memory.trim();
    return 0;
  });  // a GPU that failed has nothing to give back
}

int device_peak(hrsam_device* device, int32_t dtype, double* gflops, hrsam_error* error) {
  return guarded(error, [&] {
    *gflops = hrsam::cuda::with_room(device, [&] {
      return hrsam::cuda::measure_peak(device, static_cast<hrsam::cuda::DType>(dtype));
    });
    return 0;
  });
}

int buffer_create(hrsam_device* device, uint64_t bytes, hrsam_buffer** buffer, hrsam_error* error) {
  return guarded(error, [&] {
    auto made = std::make_unique<hrsam_buffer>();
    made->device = device;
    made->block = DeviceBlock(device, MemoryKind::buffers, bytes);
    made->bytes = bytes;
    *buffer = made.release();
    return 0;
  });
}

int buffer_wrap(hrsam_device* device, const void* data, uint64_t bytes, hrsam_buffer** buffer,
                hrsam_error* error) {
  hrsam_buffer* created = nullptr;
  const int status = buffer_create(device, bytes, &created, error);
  if (status != 0) return status;
  std::unique_ptr<hrsam_buffer> made(created);
  return guarded(error, [&] {
    device->transfers.upload(made->data(), data, bytes);
    *buffer = made.release();
    return 0;
  });
}

void buffer_destroy(hrsam_buffer* buffer) { delete buffer; }

void* buffer_host(hrsam_buffer*) { return nullptr; }

int buffer_write(hrsam_buffer* buffer, uint64_t offset, const void* source, uint64_t bytes,
                 hrsam_error* error) {
  return guarded(error, [&] {
    check_range(buffer->bytes, offset, bytes);
    buffer->device->transfers.upload(buffer->data() + offset, source, bytes);
    buffer->device->forget_packed(buffer->data(), buffer->bytes);
    return 0;
  });
}

int buffer_read(hrsam_buffer* buffer, uint64_t offset, void* destination, uint64_t bytes,
                hrsam_error* error) {
  return guarded(error, [&] {
    check_range(buffer->bytes, offset, bytes);
    buffer->device->transfers.download(destination, buffer->data() + offset, bytes);
    return 0;
  });
}

int program_create(hrsam_device* device, const hrsam_plan* plan, hrsam_program** program,
                   hrsam_error* error) {
  return guarded(error, [&] {
    *program = hrsam::cuda::build_program(device, *plan);
    return 0;
  });
}

// On whatever thread lets go of it.
void program_destroy(hrsam_program* program) {
  if (program == nullptr) return;
  hrsam_error ignored;
  guarded(&ignored, [&] {
    if (program->device != nullptr) gpu::select(program->device->ordinal);
    return 0;
  });
  delete program;
}

int run_create(hrsam_program* program, hrsam_buffer* const* inputs, hrsam_buffer* const* outputs,
               hrsam_run** run, hrsam_error* error) {
  return guarded(error, [&] {
    *run = hrsam::cuda::start_run(program, inputs, outputs);
    return 0;
  });
}

int run_step(hrsam_run* run, hrsam_error* error) {
  return guarded(
      error, [&] { return hrsam::cuda::step_run(run) ? 1 : 0; }, -1);
}

void run_destroy(hrsam_run* run) { delete run; }

int mask_runs(hrsam_buffer* masks, int64_t count, int64_t height, int64_t width,
              hrsam_take_mask take, void* context, hrsam_error* error) {
  return guarded(error, [&] {
    if (count < 0 || height < 0 || width < 0 || (width > 0 && height > UINT32_MAX / width))
      fail("ERR_SHAPE", "masks: %lld of %lld x %lld pixels", static_cast<long long>(count),
           static_cast<long long>(height), static_cast<long long>(width));
    const int64_t pixels = height * width;
    if (pixels > 0 && count > INT64_MAX / pixels) fail("ERR_SHAPE", "masks: too many");
    check_range(masks->bytes, 0, static_cast<uint64_t>(count * pixels));
    hrsam::cuda::with_room(
        masks->device, [&] { hrsam::cuda::mask_runs(masks, count, height, width, take, context); });
    return 0;
  });
}

const hrsam_backend kBackend = {
    HRSAM_ABI_VERSION,  "cuda",        device_count, device_info, device_open,    device_close,
    device_set_threads, device_memory, device_trim,  device_peak, buffer_create,  buffer_wrap,
    buffer_destroy,     buffer_host,   buffer_write, buffer_read, program_create, program_destroy,
    run_create,         run_step,      run_destroy,  mask_runs,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const hrsam_backend* hrsam_backend_entry() {
  return &kBackend;
}

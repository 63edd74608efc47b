// The C ABI of the CPU backend: turns exceptions into error codes, nothing else.
#include "backend.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "../../plan/guarded.h"
#include "../../plan/thread_count.h"
#include "device.h"
#include "memory.h"
#include "program.h"

using hrsam::cpu::Block;
using hrsam::plan::check_range;
using hrsam::plan::guarded;

namespace {

int default_threads() { return std::max(1u, std::thread::hardware_concurrency()); }

int32_t device_count(hrsam_error*) { return 1; }

int device_info(int32_t ordinal, hrsam_device_info* info, hrsam_error* error) {
  return guarded(error, [&] {
    if (ordinal != 0) hrsam::plan::fail("ERR_DEVICE", "cpu:%d: there is only cpu:0", ordinal);
    *info = {};
    std::snprintf(info->name, sizeof(info->name), "CPU");  // Node knows its name
    std::string detail = std::string("using ") + hrsam::cpu::active_isa().name + "; available:";
    int count = 0;
    const hrsam::cpu::Isa* isas = hrsam::cpu::isas(&count);
    for (int i = 0; i < count; ++i)
      if (isas[i].supported()) detail += std::string(" ") + isas[i].name;
    std::snprintf(info->detail, sizeof(info->detail), "%s", detail.c_str());
    info->memory_bytes = hrsam::cpu::total_memory();
    info->threads = default_threads();
    return 0;
  });
}

int device_open(int32_t ordinal, hrsam_device** device, hrsam_error* error) {
  return guarded(error, [&] {
    if (ordinal != 0) hrsam::plan::fail("ERR_DEVICE", "cpu:%d: there is only cpu:0", ordinal);
    *device = new hrsam_device(default_threads());
    return 0;
  });
}

void device_close(hrsam_device* device) { delete device; }

int device_set_threads(hrsam_device* device, int32_t threads, hrsam_error* error) {
  return guarded(error, [&] {
    hrsam::plan::check_threads(threads);
    device->pool.resize(threads);
    return 0;
  });
}

void device_memory(hrsam_device* device, hrsam_memory_info* info) {
  info->buffer_bytes = device->ledger.buffers;
  info->packed_bytes = device->ledger.packed;
  info->cached_bytes = device->ledger.cached;
  info->peak_bytes = device->ledger.peak;
}

void device_trim(hrsam_device* device) { device->trim(); }

int device_peak(hrsam_device* device, int32_t dtype, double* gflops, hrsam_error* error) {
  return guarded(error, [&] {
    *gflops = device->isa.peak_gflops(device->pool, static_cast<hrsam::cpu::DType>(dtype));
    return 0;
  });
}

int buffer_create(hrsam_device* device, uint64_t bytes, hrsam_buffer** buffer, hrsam_error* error) {
  return guarded(error, [&] {
    auto made = std::make_unique<hrsam_buffer>();
    made->device = device;
    made->block = Block(bytes);
    made->bytes = bytes;
    device->ledger.add(device->ledger.buffers, bytes);
    *buffer = made.release();
    return 0;
  });
}

int buffer_wrap(hrsam_device* device, const void* data, uint64_t bytes, hrsam_buffer** buffer,
                hrsam_error* error) {
  return guarded(error, [&] {
    auto made = std::make_unique<hrsam_buffer>();
    made->device = device;
    made->wrapped = data;
    made->bytes = bytes;
    *buffer = made.release();
    return 0;
  });
}

void buffer_destroy(hrsam_buffer* buffer) {
  if (buffer == nullptr) return;
  if (buffer->wrapped == nullptr)
    buffer->device->ledger.remove(buffer->device->ledger.buffers, buffer->bytes);
  delete buffer;
}

void* buffer_host(hrsam_buffer* buffer) { return buffer->data(); }

int buffer_write(hrsam_buffer* buffer, uint64_t offset, const void* source, uint64_t bytes,
                 hrsam_error* error) {
  return guarded(error, [&] {
    check_range(buffer->bytes, offset, bytes);
    if (bytes != 0) std::memcpy(static_cast<char*>(buffer->data()) + offset, source, bytes);
    buffer->device->forget_packed(buffer->data(), buffer->bytes);
    return 0;
  });
}

int buffer_read(hrsam_buffer* buffer, uint64_t offset, void* destination, uint64_t bytes,
                hrsam_error* error) {
  return guarded(error, [&] {
    check_range(buffer->bytes, offset, bytes);
    if (bytes != 0)
      std::memcpy(destination, static_cast<const char*>(buffer->data()) + offset, bytes);
    return 0;
  });
}

int program_create(hrsam_device* device, const hrsam_plan* plan, hrsam_program** program,
                   hrsam_error* error) {
  return guarded(error, [&] {
    *program = hrsam::cpu::build_program(device, *plan);
    return 0;
  });
}

void program_destroy(hrsam_program* program) { delete program; }

int run_create(hrsam_program* program, hrsam_buffer* const* inputs, hrsam_buffer* const* outputs,
               hrsam_run** run, hrsam_error* error) {
  return guarded(error, [&] {
    *run = hrsam::cpu::start_run(program, inputs, outputs);
    return 0;
  });
}

int run_step(hrsam_run* run, hrsam_error* error) {
  return guarded(
      error, [&] { return hrsam::cpu::step_run(run) ? 1 : 0; }, -1);
}

void run_destroy(hrsam_run* run) { delete run; }

const hrsam_backend kBackend = {
    HRSAM_ABI_VERSION,  "cpu",         device_count, device_info, device_open,    device_close,
    device_set_threads, device_memory, device_trim,  device_peak, buffer_create,  buffer_wrap,
    buffer_destroy,     buffer_host,   buffer_write, buffer_read, program_create, program_destroy,
    run_create,         run_step,      run_destroy,  nullptr,
};

}  // namespace

const hrsam_backend* hrsam_cpu_backend() { return &kBackend; }

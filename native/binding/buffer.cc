#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "handles.h"
#include "pool_work.h"

namespace hrsam {

namespace {

bool all_finite(const char* values, uint64_t count) {
  constexpr uint32_t kExponent = 0x7f800000;
  constexpr uint64_t kBlock = 4096;
  for (uint64_t begin = 0; begin < count; begin += kBlock) {
    uint32_t block[kBlock];
    const uint64_t length = std::min(kBlock, count - begin);
    std::memcpy(block, values + begin * sizeof(float), length * sizeof(float));
    // Without a branch, so that it is done for several at once.
    uint32_t found = 0;
    for (uint64_t i = 0; i < length; ++i) found |= (block[i] & kExponent) == kExponent ? 1 : 0;
    if (found != 0) return false;
  }
  return true;
}

}  // namespace

MappedFile::MappedFile(const char* path) {
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) fail("ERR_FILE", "%s: %s", path, std::strerror(errno));
  struct stat status {};
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0) {
    ::close(file);
    fail("ERR_FILE", "%s: not a regular file with content", path);
  }
  bytes = static_cast<uint64_t>(status.st_size);
  void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
  const int reason = errno;
  ::close(file);
  if (mapped == MAP_FAILED)
    fail("ERR_FILE", "%s: cannot be mapped: %s", path, std::strerror(reason));
  data = mapped;
}

MappedFile::~MappedFile() { munmap(const_cast<void*>(data), bytes); }

Memory::~Memory() {
  if (buffer != nullptr) worker->backend()->buffer_destroy(buffer);
}

Napi::Function BufferHandle::define(Napi::Env env) {
  return DefineClass(
      env, "NativeBuffer",
      {InstanceMethod<&BufferHandle::write>("write"), InstanceMethod<&BufferHandle::read>("read"),
       InstanceMethod<&BufferHandle::view>("view"),
       InstanceMethod<&BufferHandle::all_finite>("allFinite"),
       InstanceMethod<&BufferHandle::dispose>("dispose")});
}

Napi::Object BufferHandle::make(Napi::Env env, std::shared_ptr<Memory> memory) {
  Napi::Object object = Environment::of(env)->buffer_class.New(
      {Napi::External<std::shared_ptr<Memory>>::New(env, &memory)});
  return object;
}

BufferHandle::BufferHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<BufferHandle>(info) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "buffers are made by a device");
  memory_ = *info[0].As<Napi::External<std::shared_ptr<Memory>>>().Data();
  // The collector must know what hangs on this small object, or forgotten tensors pile up.
  if (!memory_->file)
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), static_cast<int64_t>(memory_->bytes));
}

BufferHandle::~BufferHandle() { release(Env()); }

void BufferHandle::release(Napi::Env env) {
  if (!memory_) return;
  if (!memory_->file)
    Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(memory_->bytes));
  memory_.reset();
}

BufferHandle* BufferHandle::from(Napi::Value value) {
  const Napi::Env env = value.Env();
  if (!value.IsObject() ||
      !value.As<Napi::Object>().InstanceOf(Environment::of(env)->buffer_class.Value()))
    throw Napi::TypeError::New(env, "expected a buffer");
  return Unwrap(value.As<Napi::Object>());
}

const std::shared_ptr<Memory>& BufferHandle::memory(Napi::Env env) const {
  if (!memory_) throw to_js(env, {"ERR_DISPOSED", "the tensor was disposed"});
  return memory_;
}

// write(typed array, byte offset)
Napi::Value BufferHandle::write(const Napi::CallbackInfo& info) {
  const auto& memory = this->memory(info.Env());
  const auto source = info[0].As<Napi::TypedArray>();
  const auto offset = static_cast<uint64_t>(info[1].As<Napi::Number>().DoubleValue());
  hrsam_error error{};
  const char* data = static_cast<const char*>(source.ArrayBuffer().Data()) + source.ByteOffset();
  if (memory->worker->backend()->buffer_write(memory->buffer, offset, data, source.ByteLength(),
                                              &error) != 0)
    throw to_js(info.Env(), error);
  return info.Env().Undefined();
}

// read() → Promise<ArrayBuffer>, a copy
Napi::Value BufferHandle::read(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Memory> memory = this->memory(info.Env());
  auto bytes = std::make_shared<std::vector<char>>();
  auto job = std::make_shared<PromiseJob>();
  job->work = [memory, bytes](hrsam_error* error) {
    bytes->resize(memory->bytes);
    return memory->worker->backend()->buffer_read(memory->buffer, 0, bytes->data(), bytes->size(),
                                                  error) != 0
               ? -1
               : 0;
  };
  job->value = [bytes](Napi::Env env) {
    auto result = Napi::ArrayBuffer::New(env, bytes->size());
    if (!bytes->empty()) std::memcpy(result.Data(), bytes->data(), bytes->size());
    return Napi::Value(result);
  };
  return Environment::of(info.Env())->submit(info.Env(), memory->worker, job);
}

// view() → ArrayBuffer of the memory itself, or undefined where the host cannot read it or
// JavaScript takes only memory of its own (as in Electron): read() copies. Keeps the memory alive.
Napi::Value BufferHandle::view(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto& memory = this->memory(env);
  void* data = memory->worker->backend()->buffer_host(memory->buffer);
  if (data == nullptr || memory->file) return env.Undefined();
  auto* holder = new std::shared_ptr<Memory>(memory);
  const auto finalize = [](napi_env, void*, void* held) {
    delete static_cast<std::shared_ptr<Memory>*>(held);
  };
  napi_value result = nullptr;
  const napi_status status =
      napi_create_external_arraybuffer(env, data, memory->bytes, finalize, holder, &result);
  if (status == napi_ok) return Napi::Value(env, result);
  if (status != napi_no_external_buffers_allowed) throw Napi::Error::New(env);
  delete holder;  // any other failure has released it
  return env.Undefined();
}

// allFinite(byte offset, count) → Promise<boolean>, of float32 in a mapped file
Napi::Value BufferHandle::all_finite(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Memory> memory = this->memory(info.Env());
  const auto offset = static_cast<uint64_t>(info[0].As<Napi::Number>().DoubleValue());
  const auto count = static_cast<uint64_t>(info[1].As<Napi::Number>().DoubleValue());
  return guarded(info.Env(), [&] {
    if (!memory->file || offset > memory->bytes || count > (memory->bytes - offset) / sizeof(float))
      fail("ERR_WEIGHTS", "%g values from byte %g on are not all in a mapped file",
           static_cast<double>(count), static_cast<double>(offset));
    const auto work = [=] {
      return hrsam::all_finite(static_cast<const char*>(memory->file->data) + offset, count);
    };
    const auto value = [](Napi::Env env, bool finite) {
      return Napi::Value(Napi::Boolean::New(env, finite));
    };
    return PoolWork<bool>::start(info.Env(), work, value);
  });
}

Napi::Value BufferHandle::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
  return info.Env().Undefined();
}

}  // namespace hrsam

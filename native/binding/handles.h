// What JavaScript sees: Device, Buffer, Program, and plain functions. Thin: no arithmetic, no
// policy.
#pragma once

#include <napi.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "environment.h"
#include "worker.h"

namespace hrsam {

// A file mapped read-only.
class MappedFile {
 public:
  explicit MappedFile(const char* path);  // throws Failure
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const void* data = nullptr;
  uint64_t bytes = 0;
};

// Device memory, shared by the JavaScript handle, views of it and the jobs that use it.
struct Memory {
  std::shared_ptr<Worker> worker;
  std::shared_ptr<MappedFile> file;  // when it is a mapped file
  hrsam_buffer* buffer = nullptr;
  uint64_t bytes = 0;
  ~Memory();
};

struct Compiled {
  std::shared_ptr<Worker> worker;
  std::vector<std::shared_ptr<Memory>> constants;
  hrsam_program* program = nullptr;
  ~Compiled();
};

class DeviceHandle : public Napi::ObjectWrap<DeviceHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit DeviceHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value set_threads(const Napi::CallbackInfo& info);
  Napi::Value memory(const Napi::CallbackInfo& info);
  Napi::Value trim(const Napi::CallbackInfo& info);
  Napi::Value peak(const Napi::CallbackInfo& info);
  Napi::Value create_buffer(const Napi::CallbackInfo& info);
  Napi::Value map_file(const Napi::CallbackInfo& info);
  Napi::Value compile(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value encode_masks(const Napi::CallbackInfo& info);
  Napi::Value drop_regions(const Napi::CallbackInfo& info);
  std::shared_ptr<Worker> worker_;
};

class BufferHandle : public Napi::ObjectWrap<BufferHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<Memory> memory);
  explicit BufferHandle(const Napi::CallbackInfo& info);
  ~BufferHandle() override;
  // Throws ERR_DISPOSED after dispose().
  const std::shared_ptr<Memory>& memory(Napi::Env env) const;
  static BufferHandle* from(Napi::Value value);

 private:
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value view(const Napi::CallbackInfo& info);
  Napi::Value all_finite(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  void release(Napi::Env env);
  std::shared_ptr<Memory> memory_;
};

class ProgramHandle : public Napi::ObjectWrap<ProgramHandle> {
 public:
  static Napi::Function define(Napi::Env env);
  static Napi::Object make(Napi::Env env, std::shared_ptr<Compiled> compiled);
  explicit ProgramHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  std::shared_ptr<Compiled> compiled_;
};

Napi::Value generate_scene(const Napi::CallbackInfo& info);
Napi::Value make_sample(const Napi::CallbackInfo& info);
Napi::Value next_click(const Napi::CallbackInfo& info);
Napi::Value boundary_overlap(const Napi::CallbackInfo& info);

// A copy of `from`.
template <class T>
Napi::TypedArrayOf<T> to_array(Napi::Env env, const std::vector<T>& from) {
  auto array = Napi::TypedArrayOf<T>::New(env, from.size());
  std::copy(from.begin(), from.end(), array.Data());
  return array;
}

// Runs f, turning Failure into the JavaScript error.
template <class F>
auto guarded(Napi::Env env, F&& f) {
  try {
    return f();
  } catch (const Failure& failure) {
    throw to_js(env, failure.error);
  }
}

}  // namespace hrsam

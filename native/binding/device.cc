#include <string>
#include <utility>

#include "handles.h"
#include "plan.h"

namespace hrsam {

namespace {

std::shared_ptr<Memory> allocate(const std::shared_ptr<Worker>& worker, uint64_t bytes) {
  auto memory = std::make_shared<Memory>();
  memory->worker = worker;
  memory->bytes = bytes;
  Failure failure{};
  if (worker->backend()->buffer_create(worker->device(), bytes, &memory->buffer, &failure.error) !=
      0)
    throw failure;
  return memory;
}

Napi::Value submit(const Napi::CallbackInfo& info, const std::shared_ptr<Worker>& worker,
                   std::shared_ptr<PromiseJob> job) {
  return Environment::of(info.Env())->submit(info.Env(), worker, std::move(job));
}

}  // namespace

Napi::Function DeviceHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeDevice",
                     {
                         InstanceMethod<&DeviceHandle::set_threads>("setThreads"),
                         InstanceMethod<&DeviceHandle::memory>("memory"),
                         InstanceMethod<&DeviceHandle::trim>("trim"),
                         InstanceMethod<&DeviceHandle::peak>("peak"),
                         InstanceMethod<&DeviceHandle::create_buffer>("createBuffer"),
                         InstanceMethod<&DeviceHandle::map_file>("mapFile"),
                         InstanceMethod<&DeviceHandle::compile>("compile"),
                         InstanceMethod<&DeviceHandle::cancel>("cancel"),
                         InstanceMethod<&DeviceHandle::encode_masks>("encodeMasks"),
                         InstanceMethod<&DeviceHandle::drop_regions>("dropRegions"),
                     });
}

// new NativeDevice(kind, ordinal)
DeviceHandle::DeviceHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DeviceHandle>(info) {
  const std::string kind = info[0].As<Napi::String>().Utf8Value();
  const int32_t ordinal = info[1].As<Napi::Number>().Int32Value();
  worker_ = guarded(info.Env(), [&] { return Worker::open(kind, ordinal); });
}

Napi::Value DeviceHandle::set_threads(const Napi::CallbackInfo& info) {
  const int32_t threads = info[0].As<Napi::Number>().Int32Value();
  auto job = std::make_shared<PromiseJob>();
  job->work = [worker = worker_, threads](hrsam_error* error) {
    return worker->backend()->device_set_threads(worker->device(), threads, error) != 0 ? -1 : 0;
  };
  return submit(info, worker_, job);
}

Napi::Value DeviceHandle::memory(const Napi::CallbackInfo& info) {
  hrsam_memory_info memory{};
  worker_->backend()->device_memory(worker_->device(), &memory);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("buffers", static_cast<double>(memory.buffer_bytes));
  result.Set("packed", static_cast<double>(memory.packed_bytes));
  result.Set("cached", static_cast<double>(memory.cached_bytes));
  result.Set("peak", static_cast<double>(memory.peak_bytes));
  return result;
}

Napi::Value DeviceHandle::trim(const Napi::CallbackInfo& info) {
  auto job = std::make_shared<PromiseJob>();
  job->work = [worker = worker_](hrsam_error*) {
    worker->backend()->device_trim(worker->device());
    return 0;
  };
  return submit(info, worker_, job);
}

Napi::Value DeviceHandle::peak(const Napi::CallbackInfo& info) {
  const int32_t dtype = info[0].As<Napi::Number>().Int32Value();
  auto gflops = std::make_shared<double>(0);
  auto job = std::make_shared<PromiseJob>();
  job->work = [worker = worker_, dtype, gflops](hrsam_error* error) {
    return worker->backend()->device_peak(worker->device(), dtype, gflops.get(), error) != 0 ? -1
                                                                                             : 0;
  };
  job->value = [gflops](Napi::Env env) { return Napi::Value(Napi::Number::New(env, *gflops)); };
  return submit(info, worker_, job);
}

Napi::Value DeviceHandle::create_buffer(const Napi::CallbackInfo& info) {
  const double bytes = info[0].As<Napi::Number>().DoubleValue();
  return guarded(info.Env(), [&] {
    if (!(bytes >= 0 && bytes <= 9007199254740991.0))
      fail("ERR_OUT_OF_MEMORY", "a buffer of %g bytes", bytes);
    return BufferHandle::make(info.Env(), allocate(worker_, static_cast<uint64_t>(bytes)));
  });
}

Napi::Value DeviceHandle::map_file(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>().Utf8Value();
  return guarded(info.Env(), [&] {
    auto memory = std::make_shared<Memory>();
    memory->worker = worker_;
    memory->file = std::make_shared<MappedFile>(path.c_str());
    memory->bytes = memory->file->bytes;
    Failure failure{};
    if (worker_->backend()->buffer_wrap(worker_->device(), memory->file->data, memory->bytes,
                                        &memory->buffer, &failure.error) != 0)
      throw failure;
    return BufferHandle::make(info.Env(), std::move(memory));
  });
}

// compile(plan, buffers) → {promise of NativeProgram, id}
Napi::Value DeviceHandle::compile(const Napi::CallbackInfo& info) {
  auto plan = std::make_shared<Plan>(info[0].As<Napi::Object>());
  auto compiled = std::make_shared<Compiled>();
  compiled->worker = worker_;
  const auto buffers = info[1].As<Napi::Array>();
  for (uint32_t i = 0; i < buffers.Length(); ++i)
    compiled->constants.push_back(BufferHandle::from(buffers.Get(i))->memory(info.Env()));
  auto job = std::make_shared<PromiseJob>();
  job->work = [plan, compiled](hrsam_error* error) {
    std::vector<hrsam_buffer*> raw;
    for (const auto& memory : compiled->constants) raw.push_back(memory->buffer);
    plan->plan.buffer_count = static_cast<int32_t>(raw.size());
    plan->plan.buffers = raw.data();
    const Worker& worker = *compiled->worker;
    return worker.backend()->program_create(worker.device(), &plan->plan, &compiled->program,
                                            error) != 0
               ? -1
               : 0;
  };
  job->value = [compiled](Napi::Env env) {
    return Napi::Value(ProgramHandle::make(env, compiled));
  };
  return submit(info, worker_, job);
}

Napi::Value DeviceHandle::cancel(const Napi::CallbackInfo& info) {
  worker_->cancel(static_cast<uint64_t>(info[0].As<Napi::Number>().DoubleValue()));
  return info.Env().Undefined();
}

}  // namespace hrsam

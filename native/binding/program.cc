#include <utility>

#include "handles.h"

namespace hrsam {

Compiled::~Compiled() {
  if (program != nullptr) worker->backend()->program_destroy(program);
}

Napi::Function ProgramHandle::define(Napi::Env env) {
  return DefineClass(env, "NativeProgram",
                     {InstanceMethod<&ProgramHandle::run>("run"),
                      InstanceMethod<&ProgramHandle::dispose>("dispose")});
}

Napi::Object ProgramHandle::make(Napi::Env env, std::shared_ptr<Compiled> compiled) {
  return Environment::of(env)->program_class.New(
      {Napi::External<std::shared_ptr<Compiled>>::New(env, &compiled)});
}

ProgramHandle::ProgramHandle(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<ProgramHandle>(info) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "programs are made by a device");
  compiled_ = *info[0].As<Napi::External<std::shared_ptr<Compiled>>>().Data();
}

namespace {

// One execution; everything it needs stays alive with it.
struct Execution {
  std::shared_ptr<Compiled> compiled;
  std::vector<std::shared_ptr<Memory>> inputs, outputs;
  hrsam_run* run = nullptr;

  ~Execution() { end(); }
  void end() {
    if (run != nullptr) compiled->worker->backend()->run_destroy(run);
    run = nullptr;
  }
  int step(hrsam_error* error) {
    const hrsam_backend& backend = *compiled->worker->backend();
    if (run == nullptr) {
      std::vector<hrsam_buffer*> in, out;
      for (const auto& memory : inputs) in.push_back(memory->buffer);
      for (const auto& memory : outputs) out.push_back(memory->buffer);
      if (backend.run_create(compiled->program, in.data(), out.data(), &run, error) != 0) return -1;
    }
    const int state = backend.run_step(run, error);
    if (state != 1) end();  // on the worker: the arena is free for the next run at once
    return state;
  }
};

}  // namespace

// run(inputs, outputs, FLOPs) → {promise, id}
Napi::Value ProgramHandle::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!compiled_) throw to_js(env, {"ERR_DISPOSED", "the program was disposed"});
  auto execution = std::make_shared<Execution>();
  execution->compiled = compiled_;
  const auto gather = [&](const Napi::Array& from, std::vector<std::shared_ptr<Memory>>& to) {
    for (uint32_t i = 0; i < from.Length(); ++i)
      to.push_back(BufferHandle::from(from.Get(i))->memory(env));
  };
  gather(info[0].As<Napi::Array>(), execution->inputs);
  gather(info[1].As<Napi::Array>(), execution->outputs);
  auto job = std::make_shared<PromiseJob>();
  job->cost = info[2].As<Napi::Number>().DoubleValue();
  job->work = [execution](hrsam_error* error) { return execution->step(error); };
  return Environment::of(env)->submit(env, compiled_->worker, std::move(job));
}

Napi::Value ProgramHandle::dispose(const Napi::CallbackInfo& info) {
  compiled_.reset();
  return info.Env().Undefined();
}

}  // namespace hrsam

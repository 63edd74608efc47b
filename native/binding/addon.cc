// The module: device listing, the device class, and work on Node's pool.
#include <napi.h>

#include <string>

#include "handles.h"

namespace hrsam {

namespace {

// devices(kind) → [{name, detail, memory, threads}]
Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const hrsam_backend* found = backend(info[0].As<Napi::String>().Utf8Value().c_str());
    Failure failure{};
    const int32_t count = found->device_count(&failure.error);
    if (count < 0) throw failure;
    Napi::Array list = Napi::Array::New(env);
    for (int32_t i = 0; i < count; ++i) {
      hrsam_device_info device{};
      if (found->device_info(i, &device, &failure.error) != 0) throw failure;
      Napi::Object entry = Napi::Object::New(env);
      entry.Set("name", device.name);
      entry.Set("detail", device.detail);
      entry.Set("memory", static_cast<double>(device.memory_bytes));
      entry.Set("threads", device.threads);
      list.Set(static_cast<uint32_t>(i), entry);
    }
    return list;
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  Environment::install(env);
  const auto environment = Environment::of(env);
  environment->buffer_class = Napi::Persistent(BufferHandle::define(env));
  environment->program_class = Napi::Persistent(ProgramHandle::define(env));
  exports.Set("NativeDevice", DeviceHandle::define(env));
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("generateScene", Napi::Function::New(env, generate_scene, "generateScene"));
  exports.Set("makeSample", Napi::Function::New(env, make_sample, "makeSample"));
  exports.Set("nextClick", Napi::Function::New(env, next_click, "nextClick"));
  exports.Set("boundaryOverlap", Napi::Function::New(env, boundary_overlap, "boundaryOverlap"));
  return exports;
}

}  // namespace

}  // namespace hrsam

static Napi::Object hrsam_initialise(Napi::Env env, Napi::Object exports) {
  return hrsam::initialise(env, exports);
}
NODE_API_MODULE(NODE_GYP_MODULE_NAME, hrsam_initialise)

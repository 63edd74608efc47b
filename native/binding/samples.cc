#include <cmath>
#include <memory>
#include <utility>

#include "../image/sample.h"
#include "handles.h"
#include "pool_work.h"

namespace hrsam {

namespace {

int integer(const Napi::Object& object, const char* name, int low, int high) {
  const double value = object.Get(name).ToNumber().DoubleValue();
  if (!(value >= low && value <= high)) fail("ERR_ARGUMENT", "%s of a sample: %g", name, value);
  return static_cast<int>(value);
}

double step(const Napi::Object& object, const char* name) {
  const double value = object.Get(name).ToNumber().DoubleValue();
  if (!(std::abs(value) >= 1e-4 && std::abs(value) <= 1e4))
    fail("ERR_ARGUMENT", "%s of a sample: %g", name, value);
  return value;
}

double offset(const Napi::Object& object, const char* name) {
  const double value = object.Get(name).ToNumber().DoubleValue();
  if (!(std::abs(value) <= 1e6)) fail("ERR_ARGUMENT", "%s of a sample: %g", name, value);
  return value;
}

// Bytes of JavaScript's that stay while the work runs. Released where they were taken.
struct Held {
  image::SampleSpec spec;
  std::vector<Napi::Reference<Napi::Uint8Array>> arrays;

  const uint8_t* bytes(const Napi::Value& value, const char* name, size_t expected) {
    if (!value.IsTypedArray()) fail("ERR_ARGUMENT", "%s of a sample: no bytes", name);
    const auto array = value.As<Napi::Uint8Array>();
    if (array.ByteLength() != expected)
      fail("ERR_SHAPE", "%s of a sample: %zu bytes, expected %zu", name, array.ByteLength(),
           expected);
    arrays.push_back(Napi::Persistent(array));
    return array.Data();
  }

  void add_layer(const Napi::Object& from) {
    constexpr int kSide = 32767, kColour = 1 << 20;
    image::SampleLayer layer;
    layer.width = integer(from, "width", 1, kSide);
    layer.height = integer(from, "height", 1, kSide);
    const size_t pixels = static_cast<size_t>(layer.width) * layer.height;
    layer.rgb = bytes(from.Get("rgb"), "rgb", 3 * pixels);
    layer.mask = bytes(from.Get("mask"), "mask", pixels);
    layer.x = offset(from, "x");
    layer.y = offset(from, "y");
    layer.step_x = step(from, "stepX");
    layer.step_y = step(from, "stepY");
    layer.turn_x = offset(from, "turnX");
    layer.turn_y = offset(from, "turnY");
    if (!(std::abs(layer.step_x * layer.step_y - layer.turn_x * layer.turn_y) >= 1e-8))
      fail("ERR_ARGUMENT", "a layer of a sample is flat");
    const Napi::Array colour = from.Get("colour").As<Napi::Array>();
    for (uint32_t i = 0; i < 12; ++i) {
      const double value = colour.Get(i).ToNumber().DoubleValue();
      if (!(std::abs(value) <= kColour)) fail("ERR_ARGUMENT", "colour of a sample: %g", value);
      layer.colour[i] = static_cast<int32_t>(value);
    }
    spec.layers.push_back(layer);
  }
};

}  // namespace

// makeSample(spec) → Promise<{rgb, mask, others}>
Napi::Value make_sample(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    constexpr int kSide = 8192, kLayers = 16, kOthers = 256;
    const Napi::Object from = info[0].As<Napi::Object>();
    const auto held = std::make_shared<Held>();
    image::SampleSpec& spec = held->spec;
    spec.size = integer(from, "size", 1, kSide);
    spec.width = integer(from, "width", 1, spec.size);
    spec.height = integer(from, "height", 1, spec.size);
    spec.feather = integer(from, "feather", 0, 16);
    spec.shadow = integer(from, "shadow", 0, 256);
    spec.blur = integer(from, "blur", 0, 16);
    spec.noise = integer(from, "noise", 0, 64);
    spec.seed = static_cast<uint64_t>(integer(from, "seed", 0, 0x7fffffff));
    const Napi::Array layers = from.Get("layers").As<Napi::Array>();
    if (layers.Length() < 1 || layers.Length() > kLayers)
      fail("ERR_ARGUMENT", "%u layers of a sample", layers.Length());
    for (uint32_t i = 0; i < layers.Length(); ++i)
      held->add_layer(layers.Get(i).As<Napi::Object>());
    spec.target = integer(from, "target", 0, static_cast<int>(layers.Length()) - 1);
    const Napi::Array others = from.Get("others").As<Napi::Array>();
    if (others.Length() > kOthers) fail("ERR_ARGUMENT", "%u others of a sample", others.Length());
    const image::SampleLayer& base = spec.layers[0];
    for (uint32_t i = 0; i < others.Length(); ++i)
      spec.others.push_back(
          held->bytes(others.Get(i), "others", static_cast<size_t>(base.width) * base.height));
    const auto work = [held] { return image::make_sample(held->spec); };
    const auto value = [held](Napi::Env inner, const image::Sample& sample) {
      Napi::Object result = Napi::Object::New(inner);
      result.Set("rgb", to_array(inner, sample.rgb));
      result.Set("mask", to_array(inner, sample.mask));
      Napi::Array masks = Napi::Array::New(inner, sample.others.size());
      for (uint32_t i = 0; i < masks.Length(); ++i) masks.Set(i, to_array(inner, sample.others[i]));
      result.Set("others", masks);
      return Napi::Value(result);
    };
    return PoolWork<image::Sample>::start(env, work, value);
  });
}

}  // namespace hrsam

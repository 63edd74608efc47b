#include <cstring>
#include <utility>
#include <vector>

#include "../image/mask_encode.h"
#include "handles.h"

namespace hrsam {

namespace {

Napi::Value summaries(Napi::Env env, const std::vector<image::MaskSummary>& masks) {
  Napi::Array list = Napi::Array::New(env, masks.size());
  for (size_t i = 0; i < masks.size(); ++i) {
    const image::MaskSummary& mask = masks[i];
    Napi::Array box = Napi::Array::New(env, 4);
    for (uint32_t k = 0; k < 4; ++k) box.Set(k, mask.box[k]);
    auto counts = Napi::Uint32Array::New(env, mask.counts.size());
    if (!mask.counts.empty())
      std::memcpy(counts.Data(), mask.counts.data(), mask.counts.size() * sizeof(uint32_t));
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("area", static_cast<double>(mask.area));
    entry.Set("bbox", box);
    entry.Set("counts", counts);
    list.Set(static_cast<uint32_t>(i), entry);
  }
  return list;
}

}  // namespace

// encodeMasks(masks, count, height, width) → {promise, id}
Napi::Value DeviceHandle::encode_masks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Memory> memory = BufferHandle::from(info[0])->memory(env);
  const int64_t count = info[1].As<Napi::Number>().Int64Value();
  const int64_t height = info[2].As<Napi::Number>().Int64Value();
  const int64_t width = info[3].As<Napi::Number>().Int64Value();
  auto results = std::make_shared<std::vector<image::MaskSummary>>();
  auto job = std::make_shared<PromiseJob>();
  job->cost = 4.0 * static_cast<double>(count * height * width);
  job->work = [=](hrsam_error* error) {
    const hrsam_backend& backend = *memory->worker->backend();
    try {
      std::vector<uint8_t> copy;
      const auto* pixels = static_cast<const uint8_t*>(backend.buffer_host(memory->buffer));
      if (pixels == nullptr) {
        copy.resize(memory->bytes);
        if (backend.buffer_read(memory->buffer, 0, copy.data(), copy.size(), error) != 0) return -1;
        pixels = copy.data();
      }
      for (int64_t i = 0; i < count; ++i)
        results->push_back(image::summarise_mask(pixels + i * height * width, height, width, true));
    } catch (const std::bad_alloc&) {
      *error = {"ERR_OUT_OF_MEMORY", "no memory for run lengths"};
      return -1;
    }
    return 0;
  };
  job->value = [results](Napi::Env inner) { return summaries(inner, *results); };
  return Environment::of(env)->submit(env, memory->worker, std::move(job));
}

}  // namespace hrsam

#include <algorithm>
#include <utility>
#include <vector>

#include "../image/mask_encode.h"
#include "../image/regions.h"
#include "handles.h"

namespace hrsam {

namespace {

Napi::Value summaries(Napi::Env env, const std::vector<image::MaskSummary>& masks) {
  Napi::Array list = Napi::Array::New(env, masks.size());
  for (size_t i = 0; i < masks.size(); ++i) {
    const image::MaskSummary& mask = masks[i];
    Napi::Array box = Napi::Array::New(env, 4);
    for (uint32_t k = 0; k < 4; ++k) box.Set(k, mask.box[k]);
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("area", static_cast<double>(mask.area));
    entry.Set("bbox", box);
    entry.Set("counts", to_array(env, mask.counts));
    list.Set(static_cast<uint32_t>(i), entry);
  }
  return list;
}

// Where a device's own summaries go.
struct Reported {
  std::vector<image::MaskSummary>* masks;
  int64_t pixels;

  static void take(void* context, const hrsam_mask* mask) {
    const auto& self = *static_cast<const Reported*>(context);
    image::MaskSummary& made = self.masks->emplace_back();
    made.area = mask->area;
    std::copy(mask->box, mask->box + 4, made.box);
    if (self.pixels > 0)
      made.counts = image::run_lengths(mask->begins, mask->begin_count, self.pixels);
  }
};

}  // namespace

// encodeMasks(masks, count, height, width) → {promise, id}
Napi::Value DeviceHandle::encode_masks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Memory> memory = BufferHandle::from(info[0])->memory(env);
  const int64_t count = info[1].As<Napi::Number>().Int64Value();
  const int64_t height = info[2].As<Napi::Number>().Int64Value();
  const int64_t width = info[3].As<Napi::Number>().Int64Value();
  guarded(env, [&] {
    if (static_cast<double>(height) * static_cast<double>(width) >= 0x1p32)
      fail("ERR_SHAPE", "masks of %lld x %lld: run lengths count less than 2^32 pixels",
           static_cast<long long>(height), static_cast<long long>(width));
  });
  auto results = std::make_shared<std::vector<image::MaskSummary>>();
  auto job = std::make_shared<PromiseJob>();
  job->cost = 4.0 * static_cast<double>(count * height * width);
  job->work = [=](hrsam_error* error) {
    const hrsam_backend& backend = *memory->worker->backend();
    try {
      const auto* pixels = static_cast<const uint8_t*>(backend.buffer_host(memory->buffer));
      if (pixels == nullptr) {
        Reported reported{results.get(), height * width};
        return backend.mask_runs(memory->buffer, count, height, width, &Reported::take, &reported,
                                 error) == 0
                   ? 0
                   : -1;
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

// dropRegions(logits, index, rows, columns, height, width, clicks, share) → {promise, id}: of the
// mask at `index` among f32 logits (…, rows, columns), of which height × width are picture; clicks
// as y · columns + x
Napi::Value DeviceHandle::drop_regions(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::shared_ptr<Memory> memory = BufferHandle::from(info[0])->memory(env);
  const auto number = [&](size_t i) { return info[i].As<Napi::Number>().Int64Value(); };
  const int64_t index = number(1), rows = number(2), columns = number(3);
  const image::LogitGrid grid{columns, number(4), number(5)};
  const auto cells = info[6].As<Napi::Uint32Array>();
  const double share = info[7].As<Napi::Number>().DoubleValue();
  std::vector<image::Cell> clicks;
  for (size_t i = 0; i < cells.ElementLength(); ++i)
    clicks.push_back({cells[i] % columns, cells[i] / columns});
  const uint64_t bytes = static_cast<uint64_t>(rows * columns) * sizeof(float);
  auto job = std::make_shared<PromiseJob>();
  job->work = [=](hrsam_error* error) {
    const hrsam_backend& backend = *memory->worker->backend();
    const uint64_t offset = static_cast<uint64_t>(index) * bytes;
    try {
      std::vector<float> copy(static_cast<size_t>(rows * columns));
      if (backend.buffer_read(memory->buffer, offset, copy.data(), bytes, error) != 0) return -1;
      if (!image::drop_regions(copy.data(), grid, clicks, share)) return 0;
      return backend.buffer_write(memory->buffer, offset, copy.data(), bytes, error) != 0 ? -1 : 0;
    } catch (const std::bad_alloc&) {
      *error = {"ERR_OUT_OF_MEMORY", "no memory for regions of a mask"};
      return -1;
    }
  };
  return Environment::of(env)->submit(env, memory->worker, std::move(job));
}

}  // namespace hrsam

#include <utility>

#include "../image/mask_encode.h"
#include "../image/scene.h"
#include "handles.h"
#include "pool_work.h"

namespace hrsam {

namespace {

struct Seen {
  std::vector<uint8_t> mask;
  image::MaskSummary summary;
};

std::vector<Seen> objects_seen(const image::Scene& scene) {
  std::vector<int64_t> areas(static_cast<size_t>(scene.objects) + 1);
  for (const uint8_t owner : scene.owner) ++areas[owner];
  std::vector<Seen> seen;
  for (int object = 1; object <= scene.objects; ++object) {
    if (areas[static_cast<size_t>(object)] == 0) continue;
    Seen entry;
    entry.mask.resize(scene.owner.size());
    for (size_t i = 0; i < entry.mask.size(); ++i) entry.mask[i] = scene.owner[i] == object;
    entry.summary = image::summarise_mask(entry.mask.data(), scene.height, scene.width, false);
    seen.push_back(std::move(entry));
  }
  return seen;
}

struct Generated {
  image::Scene scene;
  std::vector<Seen> seen;
};

Napi::Value to_js(Napi::Env env, const Generated& generated) {
  const std::vector<Seen>& seen = generated.seen;
  Napi::Array masks = Napi::Array::New(env, seen.size());
  Napi::Array boxes = Napi::Array::New(env, seen.size());
  Napi::Array areas = Napi::Array::New(env, seen.size());
  for (uint32_t i = 0; i < seen.size(); ++i) {
    Napi::Array box = Napi::Array::New(env, 4);
    // Edges: the summary's corners are both inside.
    for (uint32_t k = 0; k < 4; ++k) box.Set(k, seen[i].summary.box[k] + (k < 2 ? 0 : 1));
    masks.Set(i, to_array(env, seen[i].mask));
    boxes.Set(i, box);
    areas.Set(i, static_cast<double>(seen[i].summary.area));
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("rgb", to_array(env, generated.scene.rgb));
  result.Set("masks", masks);
  result.Set("boxes", boxes);
  result.Set("areas", areas);
  return result;
}

}  // namespace

// generateScene(seed, width, height, objects) → Promise<{rgb, masks, boxes, areas}>
Napi::Value generate_scene(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const double seed = info[0].As<Napi::Number>().DoubleValue();
    const int64_t width = info[1].As<Napi::Number>().Int64Value();
    const int64_t height = info[2].As<Napi::Number>().Int64Value();
    const int64_t objects = info[3].As<Napi::Number>().Int64Value();
    const bool sides = width >= image::kMinSceneSide && height >= image::kMinSceneSide &&
                       width <= image::kMaxScenePixels && height <= image::kMaxScenePixels;
    if (!sides || width * height > image::kMaxScenePixels)
      fail("ERR_ARGUMENT", "scene of %lld x %lld; sides go from %lld, pixels to %lld",
           static_cast<long long>(width), static_cast<long long>(height),
           static_cast<long long>(image::kMinSceneSide),
           static_cast<long long>(image::kMaxScenePixels));
    if (objects < 0 || objects > image::kMaxSceneObjects)
      fail("ERR_ARGUMENT", "%lld objects in a scene; at most %d", static_cast<long long>(objects),
           image::kMaxSceneObjects);
    const auto work = [=] {
      Generated generated;
      generated.scene = image::generate_scene(static_cast<uint64_t>(seed), static_cast<int>(width),
                                              static_cast<int>(height), static_cast<int>(objects));
      generated.seen = objects_seen(generated.scene);
      return generated;
    };
    const auto value = [](Napi::Env inner, const Generated& generated) {
      return to_js(inner, generated);
    };
    return PoolWork<Generated>::start(env, work, value);
  });
}

}  // namespace hrsam

#include <utility>
#include <vector>

#include "../image/boundary.h"
#include "../image/next_click.h"
#include "handles.h"
#include "pool_work.h"

namespace hrsam {

namespace {

std::vector<uint32_t> words(const Napi::Value& value) {
  const auto array = value.As<Napi::Uint32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

// Two masks of one size, as run lengths: what both methods compare.
struct Pair {
  std::vector<uint32_t> a, b;
  int64_t height, width;
  explicit Pair(const Napi::CallbackInfo& info)
      : a(words(info[0])),
        b(words(info[1])),
        height(info[2].As<Napi::Number>().Int64Value()),
        width(info[3].As<Napi::Number>().Int64Value()) {
    constexpr int64_t kSide = 32767;
    if (height < 1 || width < 1 || height > kSide || width > kSide)
      fail("ERR_SHAPE", "masks of %lld x %lld; sides go from 1 to %lld",
           static_cast<long long>(height), static_cast<long long>(width),
           static_cast<long long>(kSide));
    for (const auto* runs : {&a, &b})
      if (!image::fills(*runs, height * width))
        fail("ERR_SHAPE", "run lengths that do not add up to %lld x %lld",
             static_cast<long long>(height), static_cast<long long>(width));
  }
};

}  // namespace

// nextClick(prediction, object, height, width, clicked, innerK) → Promise
Napi::Value next_click(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto pair = std::make_shared<const Pair>(info);
    const std::vector<uint32_t> clicked = words(info[4]);
    const double inner_k = info[5].As<Napi::Number>().DoubleValue();
    const auto work = [=] {
      return image::next_click(pair->a, pair->b, pair->height, pair->width, clicked, inner_k);
    };
    const auto value = [](Napi::Env inner, const image::NextClick& click) {
      Napi::Object result = Napi::Object::New(inner);
      result.Set("label", click.label);
      result.Set("deepestMissing", click.deepest_missing);
      result.Set("deepestExtra", click.deepest_extra);
      result.Set("candidates", to_array(inner, click.candidates));
      return Napi::Value(result);
    };
    return PoolWork<image::NextClick>::start(env, work, value);
  });
}

// boundaryOverlap(a, b, height, width, radius) → Promise
Napi::Value boundary_overlap(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto pair = std::make_shared<const Pair>(info);
    const int64_t radius = info[4].As<Napi::Number>().Int64Value();
    if (radius < 1) fail("ERR_ARGUMENT", "a boundary's radius is 1 or more");
    const auto work = [=] {
      return image::boundary_overlap(pair->a, pair->b, pair->height, radius);
    };
    const auto value = [](Napi::Env inner, const image::Overlap& overlap) {
      Napi::Object result = Napi::Object::New(inner);
      result.Set("intersection", static_cast<double>(overlap.intersection));
      result.Set("union", static_cast<double>(overlap.joined));
      return Napi::Value(result);
    };
    return PoolWork<image::Overlap>::start(env, work, value);
  });
}

}  // namespace hrsam

// Work that needs no device, on Node's own pool of threads: a device's worker may be training.
#pragma once

#include <napi.h>

#include <cstdio>
#include <functional>
#include <new>
#include <utility>

#include "environment.h"

namespace hrsam {

// `work` runs on the pool and may throw std::bad_alloc; `value` then makes the promise's value.
template <class Result>
class PoolWork : public Napi::AsyncWorker {
 public:
  using Work = std::function<Result()>;
  using Value = std::function<Napi::Value(Napi::Env, const Result&)>;

  static Napi::Value start(Napi::Env env, Work work, Value value) {
    auto* job = new PoolWork(env, std::move(work), std::move(value));  // deletes itself
    const Napi::Promise promise = job->deferred_.Promise();
    job->Queue();
    return promise;
  }

 protected:
  void Execute() override {
    try {
      result_ = work_();
    } catch (const std::bad_alloc&) {
      SetError("no memory for pictures and masks");
    }
  }
  void OnOK() override {
    try {
      deferred_.Resolve(value_(Env(), result_));
    } catch (const Napi::Error& error) {  // no memory for the value
      deferred_.Reject(error.Value());
    }
  }
  void OnError(const Napi::Error& error) override {
    hrsam_error failure{"ERR_OUT_OF_MEMORY", ""};
    std::snprintf(failure.message, sizeof failure.message, "%s", error.Message().c_str());
    deferred_.Reject(to_js(Env(), failure).Value());
  }

 private:
  PoolWork(Napi::Env env, Work work, Value value)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        value_(std::move(value)) {}

  const Napi::Promise::Deferred deferred_;
  const Work work_;
  const Value value_;
  Result result_;
};

}  // namespace hrsam

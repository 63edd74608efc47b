#include "environment.h"

#include <algorithm>
#include <utility>

namespace hrsam {

namespace {

// Instance data is a holder so that jobs can keep the environment itself alive past its end.
struct Holder {
  std::shared_ptr<Environment> environment;
};

}  // namespace

Napi::Error to_js(Napi::Env env, const hrsam_error& error) {
  Napi::Error result = Napi::Error::New(env, error.message);
  result.Set("code", Napi::String::New(env, error.code));
  return result;
}

void Environment::install(Napi::Env env) {
  auto environment = std::make_shared<Environment>();
  napi_value name = Napi::String::New(env, "hrsam");
  const auto call = [](napi_env env, napi_value, void* context, void*) {
    if (env != nullptr) static_cast<Environment*>(context)->settle_all(env);
  };
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr,
                                      environment.get(), call, &environment->notify_) != napi_ok)
    throw Napi::Error::New(env, "hrsam: cannot create the notification channel");
  // Only pending work keeps the process alive.
  napi_unref_threadsafe_function(env, environment->notify_);
  auto* holder = new Holder{environment};
  env.SetInstanceData<Holder>(holder);
  env.AddCleanupHook([environment] { environment->close(); });
}

std::shared_ptr<Environment> Environment::of(Napi::Env env) {
  return env.GetInstanceData<Holder>()->environment;
}

Napi::Object Environment::submit(Napi::Env env, const std::shared_ptr<Worker>& worker,
                                 std::shared_ptr<PromiseJob> job) {
  napi_value promise = nullptr;
  napi_create_promise(env, &job->deferred_, &promise);
  job->environment_ = shared_from_this();
  job->owner = this;
  const bool known = std::any_of(workers_.begin(), workers_.end(),
                                 [&](const auto& w) { return w.lock() == worker; });
  if (!known) workers_.push_back(worker);
  if (pending_++ == 0) napi_ref_threadsafe_function(env, notify_);
  const uint64_t id = worker->submit(std::move(job));
  Napi::Object result = Napi::Object::New(env);
  result.Set("promise", Napi::Value(env, promise));
  result.Set("id", Napi::Number::New(env, static_cast<double>(id)));
  return result;
}

void PromiseJob::finished(const hrsam_error* error) {
  failed_ = error != nullptr;
  if (failed_) error_ = *error;
  work = nullptr;  // a run under way gives its arena back here, not when JavaScript hears of it
  const std::shared_ptr<Environment> environment = std::move(environment_);
  environment->post(shared_from_this());
}

void Environment::post(std::shared_ptr<PromiseJob> job) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (notify_ == nullptr) return;  // the environment is gone, and its promises with it
  done_.push_back(std::move(job));
  napi_call_threadsafe_function(notify_, nullptr, napi_tsfn_nonblocking);
}

void Environment::settle_all(napi_env raw) {
  const Napi::Env env(raw);
  const Napi::HandleScope scope(env);
  while (true) {
    std::shared_ptr<PromiseJob> job;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (done_.empty()) return;
      job = std::move(done_.front());
      done_.pop_front();
    }
    if (--pending_ == 0) napi_unref_threadsafe_function(raw, notify_);
    try {
      if (job->failed_)
        napi_reject_deferred(raw, job->deferred_, to_js(env, job->error_).Value());
      else
        napi_resolve_deferred(raw, job->deferred_, job->value ? job->value(env) : env.Undefined());
    } catch (const Napi::Error& error) {
      try {
        napi_reject_deferred(raw, job->deferred_, error.Value());
      } catch (const Napi::Error&) {
        // The environment is being torn down: nobody waits for the promise any more.
      }
    }
  }
}

void Environment::close() {
  for (const auto& weak : workers_)
    if (const auto worker = weak.lock()) worker->cancel_owner(this);
  std::deque<std::shared_ptr<PromiseJob>> dropped;
  std::lock_guard<std::mutex> lock(mutex_);
  dropped.swap(done_);
  napi_release_threadsafe_function(notify_, napi_tsfn_abort);
  notify_ = nullptr;
  buffer_class.Reset();
  program_class.Reset();
}

}  // namespace hrsam

// What one JavaScript environment (main thread or worker thread) needs to get answers from device
// workers.
#pragma once

#include <napi.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>

#include "worker.h"

namespace hrsam {

class Environment;

// A job whose end settles a promise.
class PromiseJob : public Job, public std::enable_shared_from_this<PromiseJob> {
 public:
  // Runs on the worker; see Job::step.
  std::function<int(hrsam_error*)> work;
  // Makes the promise's value, on the JavaScript thread. Null: undefined.
  std::function<Napi::Value(Napi::Env)> value;

  int step(hrsam_error* error) override { return work(error); }
  void finished(const hrsam_error* error) override;

 private:
  friend class Environment;
  std::shared_ptr<Environment> environment_;
  napi_deferred deferred_ = nullptr;
  bool failed_ = false;
  hrsam_error error_{};
};

class Environment : public std::enable_shared_from_this<Environment> {
 public:
  static void install(Napi::Env env);
  static std::shared_ptr<Environment> of(Napi::Env env);

  // Submits the job; returns {promise, id}.
  Napi::Object submit(Napi::Env env, const std::shared_ptr<Worker>& worker,
                      std::shared_ptr<PromiseJob> job);

  Napi::FunctionReference buffer_class, program_class;

 private:
  friend class PromiseJob;
  void post(std::shared_ptr<PromiseJob> job);  // any thread
  void settle_all(napi_env env);               // JavaScript thread
  void close();

  std::mutex mutex_;
  napi_threadsafe_function notify_ = nullptr;  // null once closed
  std::deque<std::shared_ptr<PromiseJob>> done_;
  std::vector<std::weak_ptr<Worker>> workers_;
  int pending_ = 0;
};

Napi::Error to_js(Napi::Env env, const hrsam_error& error);

}  // namespace hrsam

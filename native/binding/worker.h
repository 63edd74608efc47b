// The thread that owns a device. Jobs are run in the order they came, step by step; a job that
// costs far less than the running one passes it between two steps, so a click does not wait for
// somebody's encoding, nor that for more than one click a step.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backends.h"

namespace hrsam {

class Job {
 public:
  virtual ~Job() = default;
  // 1: more steps remain, 0: done, -1: failed, `error` says why. Called on the worker.
  virtual int step(hrsam_error* error) = 0;
  // Called exactly once, on any thread; error is null on success.
  virtual void finished(const hrsam_error* error) = 0;

  double cost = 0;              // FLOPs
  const void* owner = nullptr;  // the environment that submitted it
  uint64_t id = 0;
  std::atomic<bool> cancelled{false};
};

class Worker {
 public:
  // One worker per device and process, kept until the addon is unloaded, which waits for its
  // thread.
  static std::shared_ptr<Worker> open(const std::string& kind, int32_t ordinal);
  ~Worker();

  const hrsam_backend* backend() const { return backend_; }
  hrsam_device* device() const { return device_; }

  uint64_t submit(std::shared_ptr<Job> job);
  // Takes effect while the job waits or between two of its steps.
  void cancel(uint64_t id);
  // Ends all jobs of an environment; returns when none of them runs any more.
  void cancel_owner(const void* owner);
  // Ends what runs, begins nothing more and waits for the thread: what it uses may go then.
  void stop();

 private:
  Worker(const hrsam_backend* backend, int32_t ordinal);
  void loop();
  std::shared_ptr<Job> next();  // under mutex_

  const hrsam_backend* backend_;
  hrsam_device* device_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<std::shared_ptr<Job>> queue_;
  std::vector<std::shared_ptr<Job>>
      running_;  // the last one is being stepped, the others wait for it
  uint64_t next_id_ = 1;
  bool passed_ = false;  // a job ended, and the one that waited has not gone on since
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace hrsam

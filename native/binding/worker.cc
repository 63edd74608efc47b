#include "worker.h"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <new>
#include <system_error>
#include <utility>

namespace hrsam {

namespace {

// A job passes the running one when it costs at most this share of it: a decode is about a
// hundredth of an encode.
constexpr double kPassingShare = 1.0 / 16;
// Jobs under way at once: one long, one short. Each has its own arena.
constexpr size_t kMaxRunning = 2;

const hrsam_error kAborted = {"ERR_ABORTED", "the request was aborted"};

// Backends report errors; what still gets here are the containers of the addon's own jobs.
int guarded_step(Job& job, hrsam_error* error) {
  try {
    return job.step(error);
  } catch (const std::bad_alloc&) {
    *error = {"ERR_OUT_OF_MEMORY", "out of memory"};
  } catch (const std::exception& exception) {
    std::snprintf(error->code, sizeof(error->code), "ERR_INTERNAL");
    std::snprintf(error->message, sizeof(error->message), "%s", exception.what());
  }
  return -1;
}

struct Workers {
  // Where the process ends in the middle of work, somebody else holds the worker still.
  ~Workers() {
    for (const auto& [ordinal, worker] : open) worker->stop();
  }
  std::mutex mutex;
  std::map<int32_t, std::shared_ptr<Worker>> open;
};

// Those of a backend. Made after what it keeps for itself, CUDA's runtime for one, and so destroyed
// before that when the process ends.
template <bool kCpu>
Workers& workers() {
  static Workers made;
  return made;
}

}  // namespace

std::shared_ptr<Worker> Worker::open(const std::string& kind, int32_t ordinal) {
  const hrsam_backend* backend = hrsam::backend(kind.c_str());
  Failure failure{};
  if (backend->device_count(&failure.error) < 0) throw failure;
  Workers& own = kind == "cpu" ? workers<true>() : workers<false>();
  std::lock_guard<std::mutex> lock(own.mutex);
  const auto found = own.open.find(ordinal);
  if (found != own.open.end()) return found->second;
  const std::shared_ptr<Worker> made(new Worker(backend, ordinal));
  own.open.emplace(ordinal, made);
  return made;
}

Worker::Worker(const hrsam_backend* backend, int32_t ordinal) : backend_(backend) {
  Failure failure{};
  if (backend_->device_open(ordinal, &device_, &failure.error) != 0) throw failure;
  try {
    thread_ = std::thread([this] { loop(); });
  } catch (const std::system_error& error) {
    backend_->device_close(device_);
    fail("ERR_OUT_OF_MEMORY", "a device's thread could not be started: %s", error.what());
  }
}

Worker::~Worker() {
  stop();
  backend_->device_close(device_);
}

void Worker::stop() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    for (const auto& job : running_) job->cancelled = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

uint64_t Worker::submit(std::shared_ptr<Job> job) {
  uint64_t id = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    id = job->id = next_id_++;
    queue_.push_back(std::move(job));
  }
  wake_.notify_one();
  return id;
}

void Worker::cancel(uint64_t id) {
  std::shared_ptr<Job> waiting;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& job : running_)
      if (job->id == id) job->cancelled = true;
    const auto found =
        std::find_if(queue_.begin(), queue_.end(), [id](const auto& job) { return job->id == id; });
    if (found != queue_.end()) {
      waiting = std::move(*found);
      queue_.erase(found);
    }
  }
  if (waiting) waiting->finished(&kAborted);
}

void Worker::cancel_owner(const void* owner) {
  std::vector<std::shared_ptr<Job>> waiting;
  std::unique_lock<std::mutex> lock(mutex_);
  for (auto it = queue_.begin(); it != queue_.end();) {
    if ((*it)->owner == owner) {
      waiting.push_back(std::move(*it));
      it = queue_.erase(it);
    } else {
      ++it;
    }
  }
  for (const auto& job : running_)
    if (job->owner == owner) job->cancelled = true;
  idle_.wait(lock, [&] {
    return std::none_of(running_.begin(), running_.end(),
                        [&](const auto& job) { return job->owner == owner; });
  });
  lock.unlock();
  for (const auto& job : waiting) job->finished(&kAborted);
}

std::shared_ptr<Job> Worker::next() {
  if (stop_) return running_.empty() ? nullptr : running_.back();
  if (!running_.empty() && running_.size() < kMaxRunning && !passed_) {
    const double limit = running_.back()->cost * kPassingShare;
    const auto found = std::find_if(queue_.begin(), queue_.end(),
                                    [limit](const auto& job) { return job->cost <= limit; });
    if (found != queue_.end()) {
      running_.push_back(std::move(*found));
      queue_.erase(found);
    }
  } else if (running_.empty() && !queue_.empty()) {
    running_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return running_.empty() ? nullptr : running_.back();
}

void Worker::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    std::shared_ptr<Job> job = next();
    if (!job) {
      if (stop_) return;
      wake_.wait(lock);
      continue;
    }
    lock.unlock();
    hrsam_error error = kAborted;
    const int state = job->cancelled ? -1 : guarded_step(*job, &error);
    if (state == 1) {
      lock.lock();
      passed_ = false;
      continue;
    }
    job->finished(state == 0 ? nullptr : &error);
    job.reset();
    // Last: whoever waits for the job to be over may then end the process, and this thread must
    // not hold what keeps the worker alive.
    lock.lock();
    running_.pop_back();
    passed_ = true;
    idle_.notify_all();
  }
}

}  // namespace hrsam

// How many threads a device may be asked to use, the same for all backends.
#pragma once

#include <cstdint>

#include "failure.h"

namespace hrsam::plan {

constexpr int32_t kMaxThreads = 1024;

inline void check_threads(int32_t threads) {
  if (threads < 1 || threads > kMaxThreads)
    fail("ERR_ARGUMENT", "threads: expected 1 to %d, got %d", kMaxThreads, threads);
}

}  // namespace hrsam::plan

// What stands between a backend and the C ABI, which no exception crosses.
#pragma once

#include <cstdio>
#include <exception>
#include <new>

#include "failure.h"

namespace hrsam::plan {

// Runs f; an exception becomes `error` and `failed` is returned.
template <class F>
int guarded(hrsam_error* error, F&& f, int failed = 1) {
  try {
    return f();
  } catch (const Failure& failure) {
    *error = failure.error;
  } catch (const std::bad_alloc&) {
    std::snprintf(error->code, sizeof(error->code), "ERR_OUT_OF_MEMORY");
    std::snprintf(error->message, sizeof(error->message), "out of memory");
  } catch (const std::exception& exception) {
    std::snprintf(error->code, sizeof(error->code), "ERR_INTERNAL");
    std::snprintf(error->message, sizeof(error->message), "%s", exception.what());
  }
  return failed;
}

}  // namespace hrsam::plan

// The backends' only exception. It never crosses the C ABI.
#pragma once

#include "../include/hrsam_backend.h"

namespace hrsam::plan {

struct Failure {
  hrsam_error error;
};

// code: one of lib/errors.ts. printf-style.
[[noreturn]] void fail(const char* code, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

}  // namespace hrsam::plan

// Finds the backends: the CPU one is linked in, the CUDA one is a library beside the addon.
#pragma once

#include "hrsam_backend.h"

namespace hrsam {

// Throws BackendError for an unknown kind or one that cannot be used here, saying what was looked
// for and found.
const hrsam_backend* backend(const char* kind);

struct BackendError {
  hrsam_error error;
};

[[noreturn]] void fail(const char* code, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

}  // namespace hrsam

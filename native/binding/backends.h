// Finds the backends: the CPU one is linked in, the CUDA one is a library beside the addon.
#pragma once

#include "../plan/failure.h"
#include "hrsam_backend.h"

namespace hrsam {

using plan::fail;
using plan::Failure;

// Throws Failure for an unknown kind or one that cannot be used here, saying what was looked for
// and found.
const hrsam_backend* backend(const char* kind);

}  // namespace hrsam

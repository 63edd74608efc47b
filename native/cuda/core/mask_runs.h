#pragma once

#include "device.h"
#include "hrsam_backend.h"

namespace hrsam::cuda {

// See hrsam_backend::mask_runs.
void mask_runs(hrsam_buffer* masks, int64_t count, int64_t height, int64_t width,
               hrsam_take_mask take, void* context);

}  // namespace hrsam::cuda

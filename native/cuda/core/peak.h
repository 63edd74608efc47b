#pragma once

#include "device.h"

namespace hrsam::cuda {

// Multiply-adds that stay in registers, on all multiprocessors, as measured now, in GFLOP/s: FFMA
// for f32, mma.sync for bf16, wgmma on Hopper.
double measure_peak(hrsam_device* device, DType dtype);

}  // namespace hrsam::cuda

// Whether the kernels for Hopper's own instructions (sm_90a) are used: those in native/cuda/hopper.
#pragma once

namespace hrsam::cuda {

enum class HopperUse { never, where_it_pays, wherever_it_fits };

// By the calling thread's GPU and by HRSAM_CUDA_WGMMA: 0, never; 1, wherever a kernel fits, and an
// error on other GPUs; not set, on Hopper where it pays.
HopperUse hopper_use();

}  // namespace hrsam::cuda

// Whether the kernels for Hopper's own instructions (sm_90a) are used: those in native/cuda/hopper.
#pragma once

namespace hrsam::cuda {

enum class HopperUse { never, where_it_pays, wherever_it_fits };

// By the calling thread's GPU and by HRSAM_CUDA_WGMMA: 0, never; 1, wherever a kernel fits, and an
// error on other GPUs; not set, on Hopper where it pays.
HopperUse hopper_use();

// Whether four blocks of a product may share what they read, as they do unless HRSAM_CUDA_SQUARES
// is 0: a choice to be measured.
bool hopper_squares();

}  // namespace hrsam::cuda

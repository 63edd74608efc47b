// Kernels for Hopper. Each op's returns false, and does nothing, where it is not for this GPU or
// this call; the choice depends on shapes of one item alone, never on how many rows there are, so
// that a result does not depend on the rest of its batch.
#pragma once

#include "../attention/attend.h"
#include "../gemm/gemm.h"

namespace hrsam::cuda {

bool hopper_gemm(cudaStream_t stream, const Gemm& call);
bool hopper_window_attention(cudaStream_t stream, const WindowCall& call, int64_t items,
                             const AttendCall& at);
bool hopper_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                      const AttendCall& at);

// Rounds of products and nothing else; `out` has room for 256 numbers a block. Returns how many
// operations that are, 0 where there is no Hopper.
double hopper_peak_rounds(cudaStream_t stream, int blocks, int rounds, float* out);

}  // namespace hrsam::cuda

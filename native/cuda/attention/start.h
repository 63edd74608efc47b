// What starts this folder's kernels. Each is compiled once, in the .cu file of its name, whatever
// ops need it.
#pragma once

#include "attend.h"

namespace hrsam::cuda {

struct GradientCall;

// In f32, units of at most plain_queries(d) queries.
void plain_attention(cudaStream_t stream, const WindowCall& call, int64_t units,
                     const AttendCall& at);
void plain_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                     const AttendCall& at);

// In bf16, units of at most kTensorQueries queries; or of all of a window's, which keeps the keys
// on the chip.
void tensor_attention(cudaStream_t stream, const WindowCall& call, int64_t units,
                      const AttendCall& at);
void tensor_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                      const AttendCall& at);

// In f32, units of gradient_owned(d) queries: dQ, and with relative positions the sums of dS.
void query_gradient(cudaStream_t stream, const WindowCall& call, int64_t units,
                    const GradientCall& g);
void query_gradient(cudaStream_t stream, const SequenceCall& call, int64_t units,
                    const GradientCall& g);
// In f32, units of all queries that see the same keys, of which there are at most `keys`: dK and
// dV.
void key_gradient(cudaStream_t stream, const WindowCall& call, int64_t units, int64_t keys,
                  const GradientCall& g);
void key_gradient(cudaStream_t stream, const SequenceCall& call, int64_t units, int64_t keys,
                  const GradientCall& g);

// The same in bf16, units of at most kTensorQueries queries, and of whole windows.
void tensor_query_gradient(cudaStream_t stream, const WindowCall& call, int64_t units,
                           const GradientCall& g);
void tensor_key_gradient(cudaStream_t stream, const WindowCall& call, int64_t units, int64_t keys,
                         const GradientCall& g);

}  // namespace hrsam::cuda

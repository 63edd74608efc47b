// Starts the kernels of tensor.h.
#include "tensor.h"

#include "start.h"

namespace hrsam::cuda {

namespace {

template <class Unit, int kD, bool kWhole>
void launch_tensor(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
                   const AttendCall& at) {
  const bool extra = at.bias.products != nullptr || Unit::hides(call);
  launch({dim3(static_cast<unsigned>(units)), dim3(kTensorThreads),
          TensorLayout<kD>::shared_bytes(kWhole), stream},
         extra ? tensor_attention_kernel<Unit, kD, kWhole, true>
               : tensor_attention_kernel<Unit, kD, kWhole, false>,
         call, at);
}

template <class Unit, bool kWhole>
void start(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
           const AttendCall& at) {
  switch (tensor_width(at.d)) {
    case 32:
      return launch_tensor<Unit, 32, kWhole>(stream, call, units, at);
    case 64:
      return launch_tensor<Unit, 64, kWhole>(stream, call, units, at);
    case 80:
      return launch_tensor<Unit, 80, kWhole>(stream, call, units, at);
    default:
      return launch_tensor<Unit, 128, kWhole>(stream, call, units, at);
  }
}

}  // namespace

void tensor_attention(cudaStream_t stream, const WindowCall& call, int64_t units,
                      const AttendCall& at) {
  const bool whole = call.query_block == call.geometry.window * call.geometry.window;
  (whole ? start<WindowUnit<bf16>, true> : start<WindowUnit<bf16>, false>)(stream, call, units, at);
}
void tensor_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                      const AttendCall& at) {
  start<SequenceUnit<bf16>, false>(stream, call, units, at);
}

}  // namespace hrsam::cuda

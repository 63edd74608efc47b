// Starts the kernels of gradient_tensor.h.
#include "gradient_tensor.h"

#include "start.h"

namespace hrsam::cuda {

namespace {

using Window = WindowUnit<bf16>;

template <int kD>
void start_queries(cudaStream_t stream, const WindowCall& call, int64_t units,
                   const GradientCall& g) {
  launch({dim3(static_cast<unsigned>(units)), dim3(kTensorThreads),
          TensorGradientLayout<kD>::kTiles, stream},
         Window::hides(call) ? tensor_query_gradient_kernel<Window, kD, true>
                             : tensor_query_gradient_kernel<Window, kD, false>,
         call, g);
}
template <int kD>
void start_keys(cudaStream_t stream, const WindowCall& call, int64_t units, int64_t keys,
                const GradientCall& g) {
  const int parts = static_cast<int>(divide_up(keys, kTensorQueries));
  launch({dim3(static_cast<unsigned>(units * parts)), dim3(kTensorThreads),
          TensorGradientLayout<kD>::kKeyBytes, stream},
         Window::hides(call) ? tensor_key_gradient_kernel<Window, kD, true>
                             : tensor_key_gradient_kernel<Window, kD, false>,
         call, g, parts);
}

}  // namespace

void tensor_query_gradient(cudaStream_t stream, const WindowCall& call, int64_t units,
                           const GradientCall& g) {
  switch (tensor_width(g.at.d)) {
    case 32:
      return start_queries<32>(stream, call, units, g);
    case 64:
      return start_queries<64>(stream, call, units, g);
    default:
      return start_queries<80>(stream, call, units, g);
  }
}
void tensor_key_gradient(cudaStream_t stream, const WindowCall& call, int64_t units, int64_t keys,
                         const GradientCall& g) {
  switch (tensor_width(g.at.d)) {
    case 32:
      return start_keys<32>(stream, call, units, keys, g);
    case 64:
      return start_keys<64>(stream, call, units, keys, g);
    default:
      return start_keys<80>(stream, call, units, keys, g);
  }
}

}  // namespace hrsam::cuda

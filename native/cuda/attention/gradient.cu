// Starts the kernels of gradient.h.
#include "gradient.h"

#include "start.h"

namespace hrsam::cuda {

namespace {

template <class Unit, int kLanes>
size_t gradient_shared_bytes() {
  return sizeof(float) * 2 * gradient_rows(kLanes) * plain_pitch(kGradientFours * 4 * kLanes);
}

template <class Unit, int kLanes>
void launch_query_gradient(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
                           const GradientCall& g) {
  launch({dim3(static_cast<unsigned>(units)), dim3(kPlainThreads),
          gradient_shared_bytes<Unit, kLanes>(), stream},
         query_gradient_kernel<Unit, kLanes>, call, g);
}
template <class Unit, int kLanes>
void launch_key_gradient(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
                         int parts, const GradientCall& g) {
  launch({dim3(static_cast<unsigned>(units * parts * g.query_chunks)), dim3(kPlainThreads),
          gradient_shared_bytes<Unit, kLanes>(), stream},
         key_gradient_kernel<Unit, kLanes>, call, g, parts);
}

// Units of gradient_owned(d) queries.
template <class Unit>
void start_queries(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
                   const GradientCall& g) {
  switch (gradient_lanes(g.at.d)) {
    case 1:
      return launch_query_gradient<Unit, 1>(stream, call, units, g);
    case 2:
      return launch_query_gradient<Unit, 2>(stream, call, units, g);
    case 4:
      return launch_query_gradient<Unit, 4>(stream, call, units, g);
    default:
      return launch_query_gradient<Unit, 16>(stream, call, units, g);
  }
}

// Units of all queries that see the same keys, of which there are at most `keys`.
template <class Unit>
void start_keys(cudaStream_t stream, const typename Unit::Call& call, int64_t units, int64_t keys,
                const GradientCall& g) {
  const int parts = static_cast<int>(divide_up(keys, gradient_owned(g.at.d)));
  switch (gradient_lanes(g.at.d)) {
    case 1:
      return launch_key_gradient<Unit, 1>(stream, call, units, parts, g);
    case 2:
      return launch_key_gradient<Unit, 2>(stream, call, units, parts, g);
    case 4:
      return launch_key_gradient<Unit, 4>(stream, call, units, parts, g);
    default:
      return launch_key_gradient<Unit, 16>(stream, call, units, parts, g);
  }
}

}  // namespace

void query_gradient(cudaStream_t stream, const WindowCall& call, int64_t units,
                    const GradientCall& g) {
  start_queries<WindowUnit<float>>(stream, call, units, g);
}
void query_gradient(cudaStream_t stream, const SequenceCall& call, int64_t units,
                    const GradientCall& g) {
  start_queries<SequenceUnit<float>>(stream, call, units, g);
}
void key_gradient(cudaStream_t stream, const WindowCall& call, int64_t units, int64_t keys,
                  const GradientCall& g) {
  start_keys<WindowUnit<float>>(stream, call, units, keys, g);
}
void key_gradient(cudaStream_t stream, const SequenceCall& call, int64_t units, int64_t keys,
                  const GradientCall& g) {
  start_keys<SequenceUnit<float>>(stream, call, units, keys, g);
}

}  // namespace hrsam::cuda

// Starts the kernels of plain.h.
#include "plain.h"
#include "start.h"

namespace hrsam::cuda {

namespace {

template <class Unit, int kFours, int kLanes>
void launch_plain(cudaStream_t stream, typename Unit::Call call, int64_t units,
                  const AttendCall& at) {
  constexpr size_t kShared =
      sizeof(float) * 2 * plain_keys(kLanes) * plain_pitch(kFours * 4 * kLanes);
  launch({dim3(static_cast<unsigned>(units)), dim3(kPlainThreads), kShared, stream},
         plain_attention_kernel<Unit, kFours, kLanes>, call, at);
}

template <class Unit>
void start(cudaStream_t stream, const typename Unit::Call& call, int64_t units,
           const AttendCall& at) {
  if (at.d <= 16) return launch_plain<Unit, 4, 1>(stream, call, units, at);
  if (at.d <= 32) return launch_plain<Unit, 8, 1>(stream, call, units, at);
  if (at.d <= 64) return launch_plain<Unit, 16, plain_lanes(64)>(stream, call, units, at);
  if (at.d <= 128) return launch_plain<Unit, 16, plain_lanes(128)>(stream, call, units, at);
  return launch_plain<Unit, 16, plain_lanes(kMaxHead)>(stream, call, units, at);
}

}  // namespace

void plain_attention(cudaStream_t stream, const WindowCall& call, int64_t units,
                     const AttendCall& at) {
  start<WindowUnit<float>>(stream, call, units, at);
}
void plain_attention(cudaStream_t stream, const SequenceCall& call, int64_t units,
                     const AttendCall& at) {
  start<SequenceUnit<float>>(stream, call, units, at);
}

}  // namespace hrsam::cuda

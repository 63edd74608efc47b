// What the backend asks of a GPU and its driver. runtime.cc does it with CUDA; in tests
// native/test/cuda/runtime.cc does it with the host's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "gpu.h"
#include "tensor_map.h"

namespace hrsam::cuda::gpu {

struct Properties {
  char name[128];
  char detail[512];
  uint64_t memory_bytes;
  int capability;  // 90: compute capability 9.0
  int processors;
  size_t shared_bytes;  // that a block may have
};

// Throw the typed error that says what was looked for, what was found and what to do.
int device_count();
Properties properties(int ordinal);
// The calling thread works with that device from now on.
void select(int ordinal);

// The calling thread's device, as far as kernels are chosen by it.
struct Chip {
  int capability;  // 90: compute capability 9.0
  int processors;
};
Chip chip();
// False where the driver has no tensor maps, or refuses this one.
bool map_boxes(const Boxes& boxes, TensorMap* map);

constexpr size_t kAlignment = 256;

void* allocate(size_t bytes);  // null when there is no such memory left
void release(void* data);
// Called for memory from `allocate` that is about to be used for something else.
void forget_content(void* data, size_t bytes);
void* allocate_pinned(size_t bytes);  // host memory; null when there is none left
void release_pinned(void* data);
uint64_t free_bytes();

cudaStream_t create_stream(bool urgent);
void destroy_stream(cudaStream_t stream);
void copy_in(void* to, const void* host, size_t bytes, cudaStream_t stream);  // from pinned memory
void copy_out(void* host, const void* from, size_t bytes, cudaStream_t stream);
void copy(void* to, const void* from, size_t bytes, cudaStream_t stream);
void wait(cudaStream_t stream);
// Whether all that was launched so far is done; throws when some of it failed.
bool is_done(cudaStream_t stream);

// A recorded sequence of launches, to be launched again as one.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch(cudaStream_t stream) = 0;
};
void begin_recording(cudaStream_t stream);
std::unique_ptr<Graph> end_recording(cudaStream_t stream);
// Leaves it without a result, whatever state it is in.
void abandon_recording(cudaStream_t stream);

}  // namespace hrsam::cuda::gpu

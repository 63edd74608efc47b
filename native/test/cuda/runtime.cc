// Two GPUs that are none: their memory is the host's, and a launch has ended when it returns.
#include "../../cuda/core/runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace hrsam::cuda::gpu {

namespace {

constexpr int kDevices = 2;
constexpr uint64_t kMemory = uint64_t{2} << 30;

}  // namespace

int device_count() { return kDevices; }

Properties properties(int) {
  Properties made{};
  std::snprintf(made.name, sizeof(made.name), "GPU on the CPU");
  std::snprintf(made.detail, sizeof(made.detail), "kernels run by the CPU, for tests");
  made.memory_bytes = kMemory;
  made.capability = chip().capability;
  made.processors = gpu_on_cpu::kProcessors;
  made.shared_bytes = gpu_on_cpu::most_shared_bytes();
  return made;
}

Chip chip() { return {gpu_on_cpu::is_hopper() ? 90 : 80, gpu_on_cpu::kProcessors}; }

bool map_boxes(const Boxes& boxes, TensorMap* map) {
  const gpu_on_cpu::Matrices3d made{boxes.data,
                                    {boxes.columns, boxes.rows, boxes.items},
                                    {boxes.row_stride, boxes.item_stride},
                                    {kBoxColumns, boxes.box_rows}};
  // What the driver refuses.
  if (reinterpret_cast<uintptr_t>(boxes.data) % 16 != 0 || boxes.row_stride % 16 != 0 ||
      boxes.item_stride % 16 != 0 || boxes.row_stride <= 0 || boxes.item_stride <= 0 ||
      boxes.columns <= 0 || boxes.rows <= 0 || boxes.items <= 0 || boxes.box_rows > 256)
    plan::fail("ERR_INTERNAL", "a tensor map that no GPU takes");
  static_assert(sizeof(made) <= sizeof(map->bytes));
  std::memcpy(map->bytes, &made, sizeof(made));
  return true;
}

void select(int) {}

void* allocate(size_t bytes) {
  if (bytes > kMemory) return nullptr;
  void* data = nullptr;
  if (posix_memalign(&data, kAlignment, bytes) != 0) return nullptr;
  forget_content(data, bytes);
  return data;
}

void release(void* data) { std::free(data); }

// NaN in every type of float.
void forget_content(void* data, size_t bytes) { std::memset(data, 0xff, bytes); }

void* allocate_pinned(size_t bytes) { return std::malloc(bytes); }
void release_pinned(void* data) { std::free(data); }
uint64_t free_bytes() { return kMemory; }

cudaStream_t create_stream(bool) { return nullptr; }
void destroy_stream(cudaStream_t) {}
void copy_in(void* to, const void* host, size_t bytes, cudaStream_t) {
  std::memcpy(to, host, bytes);
}
void copy_out(void* host, const void* from, size_t bytes, cudaStream_t) {
  std::memcpy(host, from, bytes);
}
void copy(void* to, const void* from, size_t bytes, cudaStream_t) {
  gpu_on_cpu::submit([=] { std::memmove(to, from, bytes); });
}
// While HRSAM_TEST_GPU_LOST is set, as after a fault.
void wait(cudaStream_t) {
  if (std::getenv("HRSAM_TEST_GPU_LOST") != nullptr)
    plan::fail("ERR_DEVICE_LOST", "cuda: a GPU that was lost on purpose");
}
bool is_done(cudaStream_t stream) {
  wait(stream);
  return true;
}

namespace {

class Recorded : public Graph {
 public:
  explicit Recorded(std::vector<std::function<void()>> works) : works_(std::move(works)) {}
  void launch(cudaStream_t) override {
    for (const auto& work : works_) work();
  }

 private:
  const std::vector<std::function<void()>> works_;
};

}  // namespace

void begin_recording(cudaStream_t) { gpu_on_cpu::begin_recording(); }
std::unique_ptr<Graph> end_recording(cudaStream_t) {
  return std::make_unique<Recorded>(gpu_on_cpu::end_recording());
}
void abandon_recording(cudaStream_t) { gpu_on_cpu::end_recording(); }

}  // namespace hrsam::cuda::gpu

// State of a GPU and its buffers.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "../../plan/packed.h"
#include "op.h"
#include "runtime.h"

namespace hrsam::cuda {

// Memory of one device, kept when it is given back. Any thread.
//
// Blocks are not cut: the sizes that a model asks for come again and again, and cudaMalloc costs as
// much as a decode. What is kept is given up before memory is reported to be full.
class Memory {
 public:
  explicit Memory(int ordinal);
  ~Memory();
  void* take(MemoryKind kind, size_t bytes);
  void give_back(MemoryKind kind, void* data, size_t bytes);
  void trim();
  void report(hrsam_memory_info* info) const;

 private:
  static size_t rounded(size_t bytes);
  void free_kept();

  const int ordinal_;
  const uint64_t budget_;
  mutable std::mutex mutex_;
  // By rounded size, then address: equal requests in turn get the same blocks, whatever order they
  // were given back in, and recorded programs know them.
  std::set<std::pair<size_t, void*>> kept_;
  uint64_t live_[3] = {};                           // as asked for
  uint64_t taken_ = 0, kept_bytes_ = 0, peak_ = 0;  // as taken of the GPU: rounded
};

// A stream of the device that the calling thread works with.
class Stream {
 public:
  explicit Stream(bool urgent) : stream_(gpu::create_stream(urgent)) {}
  ~Stream() { gpu::destroy_stream(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  const cudaStream_t stream_;
};

// Memory that a stream's work uses outlives the work, also where an error is on its way: declared
// after that memory, this waits before it goes.
class Settled {
 public:
  explicit Settled(cudaStream_t stream) : stream_(stream) {}
  ~Settled();
  Settled(const Settled&) = delete;
  Settled& operator=(const Settled&) = delete;

 private:
  const cudaStream_t stream_;
};

// Copies between the host's memory and the device's, through a pinned buffer. Any thread.
class Transfers {
 public:
  explicit Transfers(int ordinal);
  void upload(void* to, const void* from, size_t bytes);
  void download(void* to, const void* from, size_t bytes);

 private:
  struct ReleasePinned {
    void operator()(unsigned char* data) const { gpu::release_pinned(data); }
  };
  static constexpr size_t kPiece = size_t{4} << 20;
  const int ordinal_;
  std::mutex mutex_;
  std::unique_ptr<unsigned char, ReleasePinned> pinned_[2];
  const Stream stream_{true};
};

}  // namespace hrsam::cuda

struct hrsam_device {
  explicit hrsam_device(int number);
  hrsam_device(int number, const hrsam::cuda::gpu::Properties& found);
  const int ordinal;
  const int processors;
  const size_t shared_bytes;
  hrsam::cuda::Memory memory;
  hrsam::cuda::Transfers transfers;
  // A run takes one of them; the second is for runs that pass a longer one.
  const hrsam::cuda::Stream streams[2]{hrsam::cuda::Stream(false), hrsam::cuda::Stream(true)};
  bool busy[2] = {};
  // Of the streams, one that no run has: at most one has while another run or work begins.
  int idle_stream() const { return busy[0] ? 1 : 0; }

  std::mutex mutex;  // guards what follows
  hrsam::plan::PackedMap<std::weak_ptr<hrsam::cuda::DeviceBlock>> shared;
  // Of memory that is written to.
  void forget_packed(const void* begin, uint64_t bytes);
};

namespace hrsam::cuda {

// Kernels' code, stacks and graphs take memory of the GPU as well, which kept blocks may fill: work
// that had no room is done again without them.
template <typename Work>
auto with_room(hrsam_device* device, Work work) {
  try {
    return work();
  } catch (const plan::Failure& failure) {
    if (std::strcmp(failure.error.code, "ERR_OUT_OF_MEMORY") != 0) throw;
    device->memory.trim();
    return work();
  }
}

}  // namespace hrsam::cuda

struct hrsam_buffer {
  hrsam_device* device = nullptr;
  hrsam::cuda::DeviceBlock block;
  uint64_t bytes = 0;
  char* data() const { return block.as<char>(); }
};

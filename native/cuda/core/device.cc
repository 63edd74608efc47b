#include "device.h"

#include <algorithm>
#include <cinttypes>
#include <cstdlib>
#include <cstring>

namespace hrsam::cuda {

using plan::fail;

namespace {

constexpr uint64_t kMebibyte = 1 << 20;

// HRSAM_CUDA_MEMORY_MIB: the most that this process may take of a GPU.
uint64_t budget() {
  const char* text = std::getenv("HRSAM_CUDA_MEMORY_MIB");
  if (text == nullptr) return UINT64_MAX;
  char* end = nullptr;
  const unsigned long long mebibytes = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0' || mebibytes == 0 || mebibytes > UINT64_MAX / kMebibyte)
    fail("ERR_ARGUMENT", "HRSAM_CUDA_MEMORY_MIB: expected a whole number of MiB, got '%s'", text);
  return mebibytes * kMebibyte;
}

}  // namespace

Memory::Memory(int ordinal) : ordinal_(ordinal), budget_(budget()) {}

// At a process's end the driver may be gone already, and the memory with it.
Memory::~Memory() { free_kept(); }

// Coarser where blocks are large, so that sizes that nearly match share a block.
size_t Memory::rounded(size_t bytes) {
  const size_t unit = bytes >= (size_t{16} << 20)  ? size_t{2} << 20
                      : bytes >= (size_t{1} << 20) ? size_t{128} << 10
                                                   : gpu::kAlignment;
  return (std::max<size_t>(bytes, 1) + unit - 1) / unit * unit;
}

void* Memory::take(MemoryKind kind, size_t bytes) {
  if (bytes > (SIZE_MAX >> 1))
    fail("ERR_OUT_OF_MEMORY", "cuda:%d: out of memory: %zu bytes needed", ordinal_, bytes);
  const size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  void* data = nullptr;
  const auto found = kept_.lower_bound({size, nullptr});
  if (found != kept_.end() && found->first == size) {
    data = found->second;
    kept_.erase(found);
    kept_bytes_ -= size;
    gpu::forget_content(data, size);
  } else {
    gpu::select(ordinal_);
    const bool fits = size <= budget_ && taken_ <= budget_ - size;
    if (fits && taken_ + kept_bytes_ > budget_ - size) free_kept();
    if (fits) data = gpu::allocate(size);
    if (fits && data == nullptr) {
      free_kept();
      data = gpu::allocate(size);
    }
    if (data == nullptr)
      fail("ERR_OUT_OF_MEMORY",
           "cuda:%d: %" PRIu64 " MiB needed, %" PRIu64 " MiB of the GPU's memory left%s", ordinal_,
           (size + kMebibyte - 1) / kMebibyte,
           (fits ? gpu::free_bytes() : budget_ - std::min(budget_, taken_)) / kMebibyte,
           fits ? "" : " of the budget (HRSAM_CUDA_MEMORY_MIB)");
  }
  live_[static_cast<int>(kind)] += bytes;
  taken_ += size;
  peak_ = std::max(peak_, taken_ + kept_bytes_);
  return data;
}

void Memory::give_back(MemoryKind kind, void* data, size_t bytes) {
  const size_t size = rounded(bytes);
  std::lock_guard<std::mutex> lock(mutex_);
  live_[static_cast<int>(kind)] -= bytes;
  taken_ -= size;
  kept_.emplace(size, data);
  kept_bytes_ += size;
}

void Memory::free_kept() {
  for (const auto& [size, data] : kept_) gpu::release(data);
  kept_.clear();
  kept_bytes_ = 0;
}

void Memory::trim() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (kept_.empty()) return;
  gpu::select(ordinal_);
  free_kept();
}

void Memory::report(hrsam_memory_info* info) const {
  std::lock_guard<std::mutex> lock(mutex_);
  info->buffer_bytes = live_[static_cast<int>(MemoryKind::buffers)];
  info->packed_bytes = live_[static_cast<int>(MemoryKind::packed)];
  info->cached_bytes = live_[static_cast<int>(MemoryKind::cached)] + kept_bytes_;
  info->peak_bytes = peak_;
}

DeviceBlock::DeviceBlock(hrsam_device* device, MemoryKind kind, size_t bytes)
    : device_(device), kind_(kind), data_(device->memory.take(kind, bytes)), bytes_(bytes) {}

DeviceBlock& DeviceBlock::operator=(DeviceBlock&& other) noexcept {
  if (this == &other) return *this;
  release();
  device_ = other.device_;
  kind_ = other.kind_;
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = other.bytes_;
  return *this;
}

void DeviceBlock::release() {
  if (data_ != nullptr) device_->memory.give_back(kind_, data_, bytes_);
  data_ = nullptr;
}

Settled::~Settled() {
  try {
    gpu::wait(stream_);
  } catch (const plan::Failure&) {  // whoever asked for the work is told
  }
}

Transfers::Transfers(int ordinal) : ordinal_(ordinal) {
  for (auto& pinned : pinned_) {
    pinned.reset(static_cast<unsigned char*>(gpu::allocate_pinned(kPiece)));
    if (pinned == nullptr) fail("ERR_OUT_OF_MEMORY", "no pinned memory for uploads");
  }
}

// While one piece travels, the next is copied to pinned memory.
void Transfers::upload(void* to, const void* from, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  gpu::select(ordinal_);
  int turn = 0;
  for (size_t at = 0; at < bytes; at += kPiece, turn ^= 1) {
    const size_t piece = std::min(kPiece, bytes - at);
    std::memcpy(pinned_[turn].get(), static_cast<const char*>(from) + at, piece);
    gpu::wait(stream_);  // the other buffer is free again
    gpu::copy_in(static_cast<char*>(to) + at, pinned_[turn].get(), piece, stream_);
  }
  gpu::wait(stream_);
}

void Transfers::download(void* to, const void* from, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  gpu::select(ordinal_);
  // One piece travels while the one before is copied out of pinned memory.
  size_t before = 0;
  int turn = 0;
  for (size_t at = 0; at < bytes; at += kPiece, turn ^= 1) {
    const size_t piece = std::min(kPiece, bytes - at);
    gpu::copy_out(pinned_[turn].get(), static_cast<const char*>(from) + at, piece, stream_);
    if (at > 0) std::memcpy(static_cast<char*>(to) + before, pinned_[turn ^ 1].get(), kPiece);
    before = at;
    gpu::wait(stream_);
  }
  if (bytes > 0)
    std::memcpy(static_cast<char*>(to) + before, pinned_[turn ^ 1].get(), bytes - before);
}

cudaStream_t Compiler::stream() const { return device_->streams[device_->idle_stream()]; }
int Compiler::processors() const { return device_->processors; }
size_t Compiler::shared_bytes() const { return device_->shared_bytes; }

SharedBlock Compiler::upload(const void* data, size_t bytes) const {
  auto block = std::make_shared<DeviceBlock>(device_, MemoryKind::packed, bytes);
  device_->transfers.upload(block->as<void>(), data, bytes);
  return block;
}

SharedBlock Compiler::share(const Value& constant, const char* layout, size_t bytes,
                            bool* fresh) const {
  std::lock_guard<std::mutex> lock(device_->mutex);
  std::erase_if(device_->shared, [](const auto& other) { return other.second.expired(); });
  auto& entry = device_->shared[std::make_tuple(constant.data, std::string(layout), bytes)];
  SharedBlock block = entry.lock();
  *fresh = block == nullptr;
  if (block == nullptr) {
    block = std::make_shared<DeviceBlock>(device_, MemoryKind::packed, bytes);
    entry = block;
  }
  return block;
}

}  // namespace hrsam::cuda

namespace gpu = hrsam::cuda::gpu;

namespace {

// Others are listed, but nothing here is compiled for them.
constexpr int kOldest = 80;

gpu::Properties usable(int number) {
  const gpu::Properties found = gpu::properties(number);
  if (found.capability < kOldest)
    hrsam::plan::fail(
        "ERR_DEVICE",
        "cuda:%d (%s): compute capability %d.%d; 8.0 (Ampere) or newer is needed. Use "
        "the device 'cpu'",
        number, found.name, found.capability / 10, found.capability % 10);
  return found;
}

}  // namespace

void hrsam_device::forget_packed(const void* begin, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  hrsam::plan::forget_packed(shared, begin, bytes);
}

hrsam_device::hrsam_device(int number) : hrsam_device(number, usable(number)) {}

hrsam_device::hrsam_device(int number, const gpu::Properties& found)
    : ordinal((gpu::select(number), number)),
      processors(found.processors),
      shared_bytes(found.shared_bytes),
      memory(number),
      transfers(number) {}

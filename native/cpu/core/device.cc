#include "device.h"

#include <utility>

namespace hrsam::cpu {

void Ledger::add(std::atomic<uint64_t>& kind, uint64_t bytes) {
  kind += bytes;
  const uint64_t now = buffers + packed + cached;
  uint64_t seen = peak;
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
}

Op::~Op() = default;

namespace {
// Arenas kept per device. Programs that take turns share one unless their sizes are far apart: four
// are those of a training step (encoder, decoder, gradient, update).
constexpr size_t kKeptArenas = 4;
}  // namespace

}  // namespace hrsam::cpu

using hrsam::cpu::Block;

Block hrsam_device::take_arena(uint64_t bytes) {
  {
    std::lock_guard<std::mutex> lock(mutex);
    size_t best = arenas.size();
    for (size_t i = 0; i < arenas.size(); ++i)
      // Not one that is far too large: it would be missing for the run that needs it.
      if (arenas[i].bytes() >= bytes && arenas[i].bytes() <= 4 * bytes + (1 << 20) &&
          (best == arenas.size() || arenas[i].bytes() < arenas[best].bytes()))
        best = i;
    if (best < arenas.size()) {
      Block block = std::move(arenas[best]);
      arenas.erase(arenas.begin() + static_cast<std::ptrdiff_t>(best));
      return block;
    }
    // None fits: free the smaller ones before asking for more, so that growing sizes do not add up.
    if (bytes >= (uint64_t{64} << 20)) drop_arenas(bytes);
  }
  Block block(bytes);
  ledger.add(ledger.cached, block.bytes());
  return block;
}

void hrsam_device::keep_arena(Block block) {
  std::lock_guard<std::mutex> lock(mutex);
  if (arenas.size() == hrsam::cpu::kKeptArenas) {
    ledger.remove(ledger.cached, arenas.front().bytes());
    arenas.erase(arenas.begin());
  }
  arenas.push_back(std::move(block));
}

void hrsam_device::drop_arenas(uint64_t below) {
  std::erase_if(arenas, [&](const Block& block) {
    if (block.bytes() >= below) return false;
    ledger.remove(ledger.cached, block.bytes());
    return true;
  });
}

void hrsam_device::forget_packed(const void* begin, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex);
  hrsam::plan::forget_packed(shared, begin, bytes);
}

void hrsam_device::trim() {
  std::lock_guard<std::mutex> lock(mutex);
  drop_arenas(UINT64_MAX);
}

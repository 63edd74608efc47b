// State of the CPU device and its buffers.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "../../plan/failure.h"
#include "../../plan/packed.h"
#include "op.h"
#include "registry.h"

namespace hrsam::cpu {

using plan::fail;
using plan::Failure;

// Live bytes by kind, and the largest sum so far.
class Ledger {
 public:
  std::atomic<uint64_t> buffers{0}, packed{0}, cached{0}, peak{0};
  void add(std::atomic<uint64_t>& kind, uint64_t bytes);
  void remove(std::atomic<uint64_t>& kind, uint64_t bytes) { kind -= bytes; }
};

}  // namespace hrsam::cpu

// Packed weights of one constant in one layout, counted by the ops that hold it.
struct hrsam::cpu::Compiler::Shared {
  hrsam_device* device = nullptr;
  plan::PackedKey key;
  Block block;
  int holders = 0;
};

struct hrsam_device {
  explicit hrsam_device(int threads) : pool(threads), isa(hrsam::cpu::active_isa()) {}
  hrsam::cpu::Pool pool;
  const hrsam::cpu::Isa& isa;
  hrsam::cpu::Ledger ledger;

  std::mutex mutex;  // guards the two below
  hrsam::plan::PackedMap<hrsam::cpu::Compiler::Shared*> shared;
  // Of memory that is written to.
  void forget_packed(const void* begin, uint64_t bytes);
  std::vector<hrsam::cpu::Block> arenas;  // kept for the next run

  hrsam::cpu::Block take_arena(uint64_t bytes);
  void keep_arena(hrsam::cpu::Block block);
  // Of the kept ones, those that are smaller; the mutex is held.
  void drop_arenas(uint64_t below);
  void trim();
};

struct hrsam_buffer {
  hrsam_device* device = nullptr;
  hrsam::cpu::Block block;  // empty when wrapped
  const void* wrapped = nullptr;
  uint64_t bytes = 0;
  void* data() const { return wrapped != nullptr ? const_cast<void*>(wrapped) : block.as<void>(); }
};

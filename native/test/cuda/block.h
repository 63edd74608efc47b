// The block that runs: its threads as fibres, and who of them may go on.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "fibre.h"
#include "gpu_on_cpu.h"

namespace gpu_on_cpu {

// waiting: for a barrier in shared memory; resting: for products.
enum class State { ready, in_warp_function, at_barrier, waiting, resting, ended };

struct Copy {
  void* to;
  const void* from;
  size_t bytes, valid;
};

struct Lane {
  Thread thread;
  Fibre fibre;
  State state;
  std::vector<std::vector<Copy>> groups;  // committed, oldest first
  std::vector<Copy> open;
  const void* barrier;  // that it waits for
  uint32_t parity;
};

// A product as all lanes of a warp asked for it.
struct WarpProduct {
  GroupProduct of;  // but for what each lane has of its own
  const uint32_t* a[kLanes];
  float* sums[kLanes];
};

struct Warp {
  int arrived = 0, ended = 0;
  const char* kind = nullptr;
  // Two sets: a lane that goes on may write its next slot before others have read this one.
  alignas(64) unsigned char slots[2][kLanes * kSlotBytes];
  int set = 0;
  std::vector<std::vector<WarpProduct>> groups;  // committed, oldest first
  std::vector<WarpProduct> open;
  bool begun = false;
  size_t newest = 0;  // groups that may be under way when it goes on
};

struct Barrier {
  int arrivals, missing;
  int64_t bytes;  // announced and not yet there
  uint32_t parity;
};

struct BoxCopy {
  unsigned char* to;
  Matrices3d from;
  int at[3];
  const void* barrier;
};

class Block {
 public:
  Body body = nullptr;
  void* context = nullptr;
  std::vector<Lane> lanes;
  std::vector<Warp> warps;
  unsigned char* shared = nullptr;
  size_t shared_bytes = 0;
  Fibre scheduler;
  size_t now = 0;  // the lane that runs
  std::string failure;
  bool ended = true;  // all threads of the last block
  // Hopper's.
  std::vector<unsigned char> shown;  // shared memory as products see it
  std::map<const void*, Barrier> barriers;
  std::vector<BoxCopy> boxes;  // under way

  void begin(size_t threads);
  // Until all threads have ended.
  void run(bool backwards);
  void leave() { Fibre::change(lanes[now].fibre, scheduler); }
  Lane& lane() { return lanes[now]; }
  Warp& warp() { return warps[now / kLanes]; }

 private:
  static void enter();
  bool run_warp(size_t warp, bool backwards);
  bool finish_something(bool newest);
  size_t count(State state) const;
};

Block& block();
// Ends the grid with an error; for the thread that runs.
void fail(std::string message);
// What is under way, see hopper.cc: one copy, and a warp's groups until it may go on.
void finish_box(Block& block, size_t which);
void finish_products(Block& block, size_t warp);

}  // namespace gpu_on_cpu

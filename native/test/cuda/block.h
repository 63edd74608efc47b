// The blocks that run together, one or a cluster: their threads as fibres, and who of them may go
// on.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "fibre.h"
#include "gpu_on_cpu.h"

namespace gpu_on_cpu {

// waiting: for a barrier in shared memory; resting: for products.
enum class State {
  ready,
  in_warp_function,
  at_barrier,
  at_cluster_barrier,
  waiting,
  resting,
  ended
};

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
  uint32_t blocks;  // of the cluster, a bit each; its own alone: 0
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
  bool ended = true;  // all threads, when it last ran
  // Hopper's.
  std::vector<unsigned char> shown;  // shared memory as products see it
  std::map<const void*, Barrier> barriers;
  std::vector<BoxCopy> boxes;  // under way

  void begin(dim3 at, dim3 size, dim3 grid);
  // What can go on without others. False: nothing.
  bool run(bool backwards);
  // Where all threads wait at it.
  bool pass(State barrier);
  // Of what is under way, one thing. False: nothing is.
  bool finish_copy(bool newest);
  bool finish_product(bool newest);
  void check_end() const;
  size_t count(State state) const;
  size_t threads() const { return warps.size() * kLanes; }
  bool has_ended() const { return count(State::ended) == threads(); }
  void leave() { Fibre::change(lanes[now].fibre, scheduler); }
  Lane& lane() { return lanes[now]; }
  Warp& warp() { return warps[now / kLanes]; }

 private:
  static void enter();
  bool run_warp(size_t warp, bool backwards);
};

struct Cluster {
  std::vector<std::unique_ptr<Block>> blocks;

  // Until all threads have ended.
  void run(bool backwards);
};
Cluster& cluster();
// The same place in another block's shared memory.
inline unsigned char* in_block(const Block& to, const Block& from, const void* at) {
  return to.shared + (static_cast<const unsigned char*>(at) - from.shared);
}

// The one that runs.
Block& block();
// Ends the grid with an error; for the thread that runs.
void fail(std::string message);
// What is under way, see hopper.cc: one copy, and a warp's groups until it may go on.
void finish_box(Block& block, size_t which);
void finish_products(Block& block, size_t warp);

}  // namespace gpu_on_cpu

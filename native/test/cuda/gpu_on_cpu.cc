#include "gpu_on_cpu.h"

#include "block.h"

#include <utility>

namespace gpu_on_cpu {

__thread Thread* current = nullptr;

namespace {

__thread Block* running = nullptr;

void perform(const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) {
    if (copy.valid > 0) std::memcpy(copy.to, copy.from, copy.valid);
    std::memset(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
  }
}

}  // namespace

void Block::begin(dim3 at, dim3 size, dim3 grid) {
  const size_t threads = size_t{size.x} * size.y * size.z;
  std::memset(shared, 0xff, shared_bytes);
  // Fibres keep their stacks, but for those that were left in the middle.
  if (!ended) lanes.clear();
  ended = false;
  if (lanes.size() < threads) lanes.resize(threads);
  warps.assign(threads / kLanes, Warp());
  failure.clear();
  barriers.clear();
  boxes.clear();
  shown.clear();
  for (size_t i = 0; i < threads; ++i) {
    const auto n = static_cast<unsigned>(i);
    lanes[i].thread = {{n % size.x, n / size.x % size.y, n / size.x / size.y}, at, size, grid};
    lanes[i].state = State::ready;
    lanes[i].groups.clear();
    lanes[i].open.clear();
    lanes[i].fibre.prepare(&Block::enter);
  }
}

size_t Block::count(State state) const {
  size_t found = 0;
  for (size_t i = 0; i < threads(); ++i) found += lanes[i].state == state;
  return found;
}

// Ahead of the cluster's other blocks, past barriers of its own threads.
bool Block::run(bool backwards) {
  bool ran = false;
  for (bool any = true; any; backwards = !backwards) {
    any = false;
    for (size_t i = 0; i < warps.size(); ++i)
      any = run_warp(backwards ? warps.size() - 1 - i : i, backwards) || any;
    any = pass(State::at_barrier) || any;
    ran = ran || any;
  }
  return ran;
}

bool Block::pass(State barrier) {
  if (count(barrier) != threads()) return false;
  for (size_t i = 0; i < threads(); ++i) lanes[i].state = State::ready;
  return true;
}

void Block::check_end() const {
  if (!boxes.empty()) throw std::runtime_error("a block ends before its bulk copies");
  for (const Warp& warp : warps)
    if (!warp.groups.empty() || !warp.open.empty())
      throw std::runtime_error("a block ends before its products");
}

bool Block::finish_copy(bool newest) {
  if (boxes.empty()) return false;
  finish_box(*this, newest ? boxes.size() - 1 : 0);
  return true;
}

bool Block::finish_product(bool newest) {
  for (size_t i = 0; i < warps.size(); ++i) {
    const size_t warp = newest ? warps.size() - 1 - i : i;
    if (lanes[warp * kLanes].state != State::resting) continue;
    finish_products(*this, warp);
    return true;
  }
  return false;
}

void Cluster::run(bool backwards) {
  for (bool ended = false; !ended; backwards = !backwards) {
    bool any = false, together = true;
    ended = true;
    const auto each = [&](const auto& visit) {
      for (size_t i = 0; i < blocks.size(); ++i) {
        running = blocks[backwards ? blocks.size() - 1 - i : i].get();
        if (visit(*running)) return true;
      }
      return false;
    };
    each([&](Block& b) {
      any = b.run(backwards) || any;
      return false;
    });
    each([&](Block& b) {
      together = together && b.count(State::at_cluster_barrier) == b.threads();
      ended = ended && b.has_ended();
      return false;
    });
    if (together) each([](Block& b) { return !b.pass(State::at_cluster_barrier); });
    // Nobody can go on: copies first, so that products read what is there as late as it can be.
    if (ended || any || together) continue;
    if (each([&](Block& b) { return b.finish_copy(backwards); }) ||
        each([&](Block& b) { return b.finish_product(backwards); }))
      continue;
    const bool waits = each([](Block& b) {
      return b.count(State::at_barrier) + b.count(State::at_cluster_barrier) > 0;
    });
    throw std::runtime_error(waits ? "a block's barrier is not reached by all of its threads"
                                   : "a block's threads wait for what never comes");
  }
  for (const auto& b : blocks) {
    b->check_end();
    b->ended = true;
  }
}

bool Block::run_warp(size_t warp, bool backwards) {
  const size_t first = warp * kLanes;
  bool ran = false;
  for (bool any = true; any;) {
    any = false;
    for (int i = 0; i < kLanes; ++i) {
      const size_t lane = first + static_cast<size_t>(backwards ? kLanes - 1 - i : i);
      if (lanes[lane].state != State::ready) continue;
      any = ran = true;
      now = lane;
      current = &lanes[lane].thread;
      Fibre::change(scheduler, lanes[lane].fibre);
      if (!failure.empty()) throw std::runtime_error(failure);
    }
  }
  bool stuck = false, waits = false;
  for (size_t lane = first; lane < first + kLanes; ++lane) {
    stuck = stuck || lanes[lane].state == State::in_warp_function;
    waits = waits || lanes[lane].state == State::waiting;
  }
  if (stuck && !waits)
    throw std::runtime_error(std::string("not all lanes of a warp reach ") + warps[warp].kind);
  return ran;
}

void Block::enter() {
  Block& self = block();
  self.body(self.context);
  self.lane().state = State::ended;
  self.leave();
}

Cluster& cluster() {
  static thread_local Cluster made;
  return made;
}

Block& block() { return *running; }

void fail(std::string message) {
  Block& b = block();
  // Nothing is destroyed in a fibre that is left for good, so it may keep neither of the buffers.
  std::string().swap(b.failure);
  b.failure = std::move(message);
  b.lane().state = State::ended;
  b.leave();  // for good
}

void* shared_memory() { return block().shared; }

void block_barrier() {
  Block& b = block();
  b.lanes[b.now].state = State::at_barrier;
  b.leave();
}

void warp_exchange(const char* kind, void* data, size_t bytes, Finish finish, void* context) {
  Block& b = block();
  const size_t lane = b.now;
  Warp& warp = b.warps[lane / kLanes];
  if (bytes > kSlotBytes) fail(std::string(kind) + ": too large for a slot");
  if (warp.arrived == 0) {
    warp.kind = kind;
    warp.set ^= 1;
  }
  if (warp.kind != kind && std::strcmp(warp.kind, kind) != 0)
    fail(std::string("lanes of one warp in ") + warp.kind + " and in " + kind);
  unsigned char* slots = warp.slots[warp.set];
  unsigned char* own = slots + lane % kLanes * kSlotBytes;
  if (bytes > 0) std::memcpy(own, data, bytes);
  if (++warp.arrived < kLanes) {
    b.lanes[lane].state = State::in_warp_function;
    b.leave();
  } else {
    finish(slots, context);
    warp.arrived = 0;
    const size_t first = lane / kLanes * kLanes;
    for (size_t i = first; i < first + kLanes; ++i)
      if (b.lanes[i].state == State::in_warp_function) b.lanes[i].state = State::ready;
  }
  if (bytes > 0) std::memcpy(data, own, bytes);
}

void copy_later(void* to, const void* from, size_t bytes, size_t valid) {
  Block& b = block();
  if (reinterpret_cast<uintptr_t>(to) % bytes != 0 ||
      (valid > 0 && reinterpret_cast<uintptr_t>(from) % bytes != 0))
    fail("an asynchronous copy is not aligned to its size");
  b.lanes[b.now].open.push_back({to, from, bytes, valid});
}

void commit_copies() {
  Block& b = block();
  Lane& lane = b.lanes[b.now];
  lane.groups.push_back(std::move(lane.open));
  lane.open.clear();
}

void wait_for_copies(int newest) {
  Block& b = block();
  auto& groups = b.lanes[b.now].groups;
  while (groups.size() > static_cast<size_t>(newest)) {
    perform(groups.front());
    groups.erase(groups.begin());
  }
}

void run_grid(dim3 grid, dim3 size, size_t shared_bytes, Body body, void* context,
              unsigned cluster) {
  const size_t threads = size_t{size.x} * size.y * size.z;
  if (threads == 0 || threads > 1024 || threads % kLanes != 0)
    throw std::runtime_error("a block of " + std::to_string(threads) + " threads");
  if (grid.y > 65535 || grid.z > 65535 || grid.x > 2147483647u)
    throw std::runtime_error("a grid that no GPU takes");
  if (shared_bytes > most_shared_bytes())
    throw std::runtime_error("more shared memory than some GPUs have");
  if (cluster == 0 || grid.x % cluster != 0 || (cluster > 1 && !is_hopper()))
    throw std::runtime_error("clusters that no GPU takes");
  Cluster& together = gpu_on_cpu::cluster();
  while (together.blocks.size() < cluster) together.blocks.push_back(std::make_unique<Block>());
  together.blocks.resize(cluster);
  // Of exactly that size, so that AddressSanitizer sees its end.
  std::vector<std::vector<unsigned char>> memory(cluster);
  for (unsigned i = 0; i < cluster; ++i) {
    Block& b = *together.blocks[i];
    b.body = body;
    b.context = context;
    memory[i].resize(shared_bytes + 128);
    b.shared = memory[i].data();
    b.shared += (128 - reinterpret_cast<uintptr_t>(b.shared) % 128) % 128;
    b.shared_bytes = shared_bytes;
  }
  bool backwards = false;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; x += cluster) {
        for (unsigned i = 0; i < cluster; ++i) together.blocks[i]->begin({x + i, y, z}, size, grid);
        together.run(backwards);
        backwards = !backwards;
      }
}

namespace {
thread_local bool records = false;
thread_local std::vector<std::function<void()>> recorded;
}  // namespace

void submit(std::function<void()> work) {
  if (records)
    recorded.push_back(std::move(work));
  else
    work();
}
void begin_recording() { records = true; }
std::vector<std::function<void()>> end_recording() {
  records = false;
  return std::exchange(recorded, {});
}

}  // namespace gpu_on_cpu

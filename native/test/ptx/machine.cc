#include "counts.h"
#include "instructions.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace ptx {

namespace {

constexpr uint32_t kNever = 0xffffffffu;
constexpr int kPatience = 2000;  // times that warps wait for nothing
constexpr int kRound = 64;       // instructions, more than a loop that waits has

class Runner {
 public:
  Runner(const Launch& launch, Memory& memory, uint64_t seed, Counts* counts)
      : launch_(launch), code_(*launch.code) {
    cluster_.launch = &launch;
    cluster_.code = &code_;
    cluster_.memory = &memory;
    cluster_.random.seed(seed);
    const char* races = std::getenv("HRSAM_PTX_RACES");
    cluster_.races = races == nullptr || *races != '0';
    cluster_.counts = counts;
    memory_.resize(launch.parameters.size() + 256);
    parameters_ = memory_.data() + (128 - reinterpret_cast<uintptr_t>(memory_.data()) % 128);
    std::copy(launch.parameters.begin(), launch.parameters.end(), parameters_);
    memory.add(parameters_, std::max<size_t>(launch.parameters.size(), 1), false);
  }
  ~Runner() { cluster_.memory->remove(parameters_); }

  void run() {
    const unsigned wide = launch_.cluster;
    const uint64_t clusters = uint64_t{launch_.grid.x} / wide * launch_.grid.y * launch_.grid.z;
    uint64_t some = clusters;
    if (cluster_.counts != nullptr) {
      if (cluster_.counts->sample != 0) some = std::min(clusters, cluster_.counts->sample);
      cluster_.counts->begin(launch_, static_cast<double>(clusters) / static_cast<double>(some));
    }
    build();
    for (uint64_t k = 0; k < some; ++k) {
      // In no order that was promised; a sample from all over.
      const uint64_t at = (some - 1 - k) * clusters / some + clusters / some / 2;
      const uint64_t row = at / (launch_.grid.x / wide);
      begin(static_cast<uint32_t>(at % (launch_.grid.x / wide) * wide),
            static_cast<uint32_t>(row % launch_.grid.y),
            static_cast<uint32_t>(row / launch_.grid.y));
      if (cluster_.counts != nullptr) cluster_.counts->begin_cluster();
      schedule();
    }
    if (cluster_.counts != nullptr) cluster_.counts->end(launch_);
  }

 private:
  void build() {
    const uint32_t threads = launch_.block.x * launch_.block.y * launch_.block.z;
    const int warps = static_cast<int>((threads + kLanes - 1) / kLanes);
    for (unsigned rank = 0; rank < launch_.cluster; ++rank) {
      auto block = std::make_unique<Block>();
      block->cluster = &cluster_;
      block->rank = rank;
      block->shared_end = static_cast<uint32_t>(kSharedBase + launch_.shared_bytes);
      for (int number = 0; number < warps; ++number) {
        auto warp = std::make_unique<Warp>();
        warp->block = block.get();
        warp->code = &code_;
        warp->number = number;
        warp->id = static_cast<int>(rank) * warps + number;
        warp->file.assign(code_.words, 0xffffffffu);
        warp->predicates.assign(code_.predicates, 0x55555555u);
        warp->local.resize(code_.local_bytes * kLanes);
        if (code_.uses_products) {
          warp->in_flight.resize(code_.words / kLanes);
          warp->used.resize(code_.words / kLanes);
        }
        for (const auto& constant : code_.constants)
          for (int l = 0; l < kLanes; ++l) {
            if (constant.wide)
              warp->u64(constant.at)[l] = constant.value;
            else
              warp->u32(constant.at)[l] = static_cast<uint32_t>(constant.value);
          }
        for (int l = 0; l < kLanes; ++l) {
          const uint32_t thread = static_cast<uint32_t>(number * kLanes + l);
          const uint32_t values[] = {thread % launch_.block.x,
                                     thread / launch_.block.x % launch_.block.y,
                                     thread / launch_.block.x / launch_.block.y,
                                     launch_.block.x,
                                     launch_.block.y,
                                     launch_.block.z};
          for (int k = 0; k < 6; ++k) warp->u32(code_.special[k])[l] = values[k];
          const uint32_t grid[] = {launch_.grid.x, launch_.grid.y, launch_.grid.z,
                                   static_cast<uint32_t>(l), rank};
          for (int k = 0; k < 5; ++k) warp->u32(code_.special[9 + k])[l] = grid[k];
          warp->u64(code_.parameter_base)[l] = reinterpret_cast<uint64_t>(parameters_);
        }
        block->warps.push_back(std::move(warp));
      }
      cluster_.blocks.push_back(std::move(block));
    }
  }

  void begin(uint32_t x, uint32_t y, uint32_t z) {
    const uint32_t threads = launch_.block.x * launch_.block.y * launch_.block.z;
    cluster_.copies.clear();
    cluster_.readers.clear();
    cluster_.arrived = 0;
    cluster_.phase = 0;
    cluster_.arrived_known.clear();
    ++cluster_.number;
    cluster_.live = 0;
    cluster_.idle = 0;
    size_t all = 1;
    for (const auto& block : cluster_.blocks) all += block->warps.size();
    cluster_.engine.assign(all, 0);
    for (auto& block : cluster_.blocks) {
      block->index = {x + block->rank, y, z};
      block->shared.assign(launch_.shared_bytes, 0xff);
      block->touched.assign((launch_.shared_bytes >> code_.shared_shift) + 1, {});
      block->unfenced.assign(launch_.shared_bytes / 16 + 2, 0);
      block->barriers.clear();
      block->spare = 0;
      block->products.assign((block->warps.size() + 3) / 4, {});
      for (auto& named : block->named) named = {};
      for (auto& warp : block->warps) {
        const uint32_t left = threads - static_cast<uint32_t>(warp->number * kLanes);
        warp->alive = left >= kLanes ? kAll : (1u << left) - 1;
        warp->waiting = warp->parked = 0;
        warp->early = launch_.early ? warp->alive : 0;
        std::fill(std::begin(warp->pc), std::end(warp->pc), 0);
        for (int l = 0; l < kLanes; ++l) {
          warp->open[l].clear();
          warp->groups[l].clear();
        }
        std::fill(warp->local.begin(), warp->local.end(), 0xff);
        const uint32_t values[] = {block->index.x, block->index.y, block->index.z};
        for (int k = 0; k < 3; ++k) std::fill_n(warp->u32(code_.special[6 + k]), kLanes, values[k]);
        warp->known.assign(all, 0);
        warp->known[warp->id] = 1;
        warp->touched = warp->waited = 0;
        std::fill(warp->in_flight.begin(), warp->in_flight.end(), 0);
        std::fill(warp->used.begin(), warp->used.end(), 0);
        warp->now = 1;
        warp->fenced = warp->products = warp->products_done = 0;
        warp->issued = 0;
        warp->pieces.clear();
        warp->dirty.clear();
        warp->registers = code_.registers;
        warp->cluster_arrived = false;
        warp->cluster_phase = 0;
        ++cluster_.live;
      }
    }
  }

  void schedule() {
    std::vector<Warp*> ready;
    while (cluster_.live > 0) {
      ready.clear();
      for (auto& block : cluster_.blocks)
        for (auto& warp : block->warps)
          if ((warp->alive & ~warp->waiting) != 0) ready.push_back(warp.get());
      if (!cluster_.copies.empty() &&
          (ready.empty() || cluster_.idle > 64 || cluster_.random() % 8 == 0)) {
        const size_t which = cluster_.random() % cluster_.copies.size();
        const BoxCopy copy = cluster_.copies[which];
        cluster_.copies.erase(cluster_.copies.begin() + static_cast<long>(which));
        finish_copy(cluster_, copy);
        continue;
      }
      if (ready.empty() || cluster_.idle > kPatience) {
        Warp& stuck = *(ready.empty() ? first_alive() : ready[0]);
        fault(stuck, "nothing goes on: warps wait for what no one does");
      }
      Warp& warp = *ready[cluster_.random() % ready.size()];
      warp.yields = false;
      const int budget =
          cluster_.random() % 4 == 0 ? 4096 : 1 + static_cast<int>(cluster_.random() % 256);
      slice(warp, budget);
      if (warp.yields)
        ++cluster_.idle;
      else if (budget >= kRound)  // who waits does not get that far
        cluster_.idle = 0;
    }
    if (!cluster_.copies.empty())
      throw Fault("blocks ended before copies to them did, in " + code_.name);
  }

  Warp* first_alive() {
    for (auto& block : cluster_.blocks)
      for (auto& warp : block->warps)
        if (warp->alive != 0) return warp.get();
    std::abort();
  }

  void release(NamedBarrier& named) {
    Clock all;
    for (Warp* warp : named.waiting) {
      go_on(*warp);
      merge(all, warp->known);
    }
    for (Warp* warp : named.waiting) {
      warp->known = all;
      warp->waiting = 0;
    }
    named = {};
  }

  int live_warps(const Block& block) const {
    int live = 0;
    for (const auto& warp : block.warps) live += warp->alive != 0;
    return live;
  }

  void arrive(Warp& warp, const Instruction& at, uint32_t lanes) {
    const uint32_t id = warp.u32(at.a)[__builtin_ctz(lanes)];
    if (id > 15) fault(warp, "a barrier's number above 15");
    NamedBarrier& named = warp.block->named[id];
    int needed = 0;
    if (at.b >= 0) {
      const uint32_t threads = warp.u32(at.b)[__builtin_ctz(lanes)];
      if (threads == 0 || threads % kLanes != 0) fault(warp, "a barrier for a part of a warp");
      needed = static_cast<int>(threads / kLanes);
    }
    if (named.arrived > 0 && named.needed != needed) fault(warp, "a barrier with two counts");
    named.needed = needed;
    ++named.arrived;
    named.waiting.push_back(&warp);
    warp.waiting = warp.alive;
    if (named.arrived == (needed != 0 ? needed : live_warps(*warp.block))) release(named);
  }

  void left(Warp& warp) {
    --cluster_.live;
    for (auto& named : warp.block->named)
      if (named.arrived > 0 && named.needed == 0 && named.arrived == live_warps(*warp.block))
        release(named);
    if (warp.code->uses_products && warp.products_done < warp.products)
      fault(warp, "ends while products are computed");
    if (warp.issued != warp.block->products[warp.number / 4].size())
      fault(warp, "ends without a product of its warpgroup");
  }

  // Lanes that must come together before this runs.
  uint32_t members(Warp& warp, const Instruction& at, uint32_t lanes) {
    if (at.c < 0 || at.run == &multiply_group) {
      if (warp.alive != kAll)
        fault(warp, "an instruction for a whole warp, of which lanes have ended");
      return kAll;
    }
    const uint32_t* masks = warp.u32(at.c);
    const uint32_t members = masks[__builtin_ctz(lanes)];
    each_lane(lanes, [&](int l) {
      if (masks[l] != members) fault(warp, "lanes that meet do not agree who meets", l);
      if (!(members >> l & 1)) fault(warp, "a lane meets others without being of them", l);
    });
    if ((members & ~warp.alive) != 0) fault(warp, "lanes that have ended are to meet others");
    return members;
  }

  void note(Warp& warp, uint32_t pc, const Instruction& at) {
    ++warp.now;
    const auto& sources = code_.sources[pc];
    const auto& results = code_.results[pc];
    if (at.run == &multiply_group) return;
    const bool pending = warp.products_done < warp.products || !warp.pieces.empty();
    const bool moves = sources.size() == 1 && results.size() == 1 && at.guard < 0 &&
                       at.control == Control::none && code_.is_move[pc];
    if (moves) {
      warp.in_flight[results[0]] = warp.in_flight[sources[0]];
      warp.used[results[0]] = warp.used[sources[0]];
      return;
    }
    for (const int source : sources) {
      if (pending && warp.in_flight[source] > warp.products_done)
        fault(warp, "reads a register that products still write");
      warp.used[source] = warp.now;
    }
    for (const int result : results) {
      if (pending && warp.in_flight[result] > warp.products_done)
        fault(warp, "writes a register that products still write");
      warp.in_flight[result] = 0;
      warp.used[result] = warp.now;
    }
  }

  void slice(Warp& warp, int budget) {
    const Instruction* code = code_.instructions.data();
    while (budget > 0 && !warp.yields) {
      const uint32_t ready = warp.alive & ~warp.waiting & ~warp.parked;
      if (ready == 0) {
        if (warp.alive == 0 || (warp.alive & ~warp.waiting) == 0) return;
        warp.here = warp.pc[__builtin_ctz(warp.parked)];
        fault(warp, "lanes are to meet others that never come");
      }
      uint32_t pc = kNever, lanes = 0, next = kNever;
      each_lane(ready, [&](int l) { pc = std::min(pc, warp.pc[l]); });
      each_lane(ready, [&](int l) {
        if (warp.pc[l] == pc)
          lanes |= 1u << l;
        else
          next = std::min(next, warp.pc[l]);
      });
      each_lane(warp.parked, [&](int l) { next = std::min(next, warp.pc[l]); });
      // These lanes, until they part or meet the next ones.
      for (;;) {
        const Instruction& at = code[pc];
        warp.here = pc;
        uint32_t on = lanes;
        if (at.guard >= 0)
          on &= at.guard_not ? ~warp.predicates[at.guard] : warp.predicates[at.guard];
        --budget;
        if (cluster_.counts != nullptr) cluster_.counts->add(warp, pc, on);
        bool regroup = false;
        switch (at.control) {
          case Control::none:
            if (on != 0) {
              if (code_.uses_products) note(warp, pc, at);
              at.run(warp, at, on);
            }
            ++pc;
            break;
          case Control::branch: {
            const auto target = static_cast<uint32_t>(at.offset);
            if (on == lanes) {
              pc = target;
              regroup = next != kNever;
            } else if (on == 0) {
              ++pc;
            } else {
              each_lane(lanes, [&](int l) { warp.pc[l] = on >> l & 1 ? target : pc + 1; });
              lanes = 0;
              regroup = true;
            }
            break;
          }
          case Control::leave:
            if ((warp.early & on) != 0)
              fault(warp, "ends without having waited for the kernel before");
            warp.alive &= ~on;
            each_lane(lanes & ~on, [&](int l) { warp.pc[l] = pc + 1; });
            lanes = 0;
            if (warp.alive == 0) {
              left(warp);
              return;
            }
            regroup = true;
            break;
          case Control::trap:
            if (on != 0) fault(warp, "trap", __builtin_ctz(on));
            ++pc;
            break;
          case Control::together: {
            if (on == 0) {
              ++pc;
              break;
            }
            const uint32_t all = members(warp, at, on);
            uint32_t come = on;
            each_lane(warp.parked,
                      [&](int l) { come |= static_cast<uint32_t>(warp.pc[l] == pc) << l; });
            if ((come & all) != all) {
              warp.parked |= on;
              each_lane(lanes, [&](int l) { warp.pc[l] = on >> l & 1 ? pc : pc + 1; });
              lanes = 0;
              regroup = true;
              break;
            }
            if (code_.uses_products) note(warp, pc, at);
            at.run(warp, at, all);
            if (warp.yields) break;                  // it waits here for registers
            if (all == warp.alive) warp.waited = 0;  // memory may lag
            const uint32_t woken = warp.parked & all;
            each_lane(woken, [&](int l) { warp.pc[l] = pc + 1; });
            warp.parked &= ~all;
            regroup = woken != 0;
            ++pc;
            break;
          }
          case Control::barrier: {
            if (on == 0) {
              ++pc;
              break;
            }
            uint32_t come = on;
            each_lane(warp.parked,
                      [&](int l) { come |= static_cast<uint32_t>(warp.pc[l] == pc) << l; });
            if (come != warp.alive) {
              warp.parked |= on;
              each_lane(lanes, [&](int l) { warp.pc[l] = on >> l & 1 ? pc : pc + 1; });
            } else {
              warp.parked = 0;
              each_lane(warp.alive, [&](int l) { warp.pc[l] = pc + 1; });
              arrive(warp, at, come);
              if (warp.waiting != 0) return;
            }
            lanes = 0;
            regroup = true;
            break;
          }
          case Control::cluster_wait:
            if (!warp.cluster_arrived) fault(warp, "waits for its cluster without having arrived");
            if (cluster_.phase == warp.cluster_phase) {
              warp.yields = true;
            } else {
              merge(warp.known, cluster_.arrived_known);
              warp.cluster_arrived = false;
              ++pc;
            }
            break;
        }
        if (regroup || pc >= next || budget <= 0 || warp.yields) break;
      }
      each_lane(lanes & warp.alive, [&](int l) { warp.pc[l] = pc; });
    }
  }

  const Launch& launch_;
  const Code& code_;
  Cluster cluster_;
  std::vector<uint8_t> memory_;
  uint8_t* parameters_ = nullptr;  // aligned
};

}  // namespace

void run(const Launch& launch, Memory& memory, uint64_t seed, Counts* counts) {
  Runner(launch, memory, seed, counts).run();
}

}  // namespace ptx

// What sm_90a adds: mbarriers, clusters, copies of boxes, products of warpgroups.
#include <bit>
#include <cmath>
#include <cstring>

#include "instructions.h"
#include "tensor_boxes.h"

namespace ptx {

namespace {

bool has_ended(const Block& block) {
  for (const auto& warp : block.warps)
    if (warp->alive != 0) return false;
  return true;
}

Block& block_of(Warp& warp, uint32_t address, int lane) {
  const uint32_t tag = address / kBlockWindow;
  if (tag > warp.block->cluster->blocks.size())
    fault(warp, "an address outside of the cluster", lane);
  Block& block = tag == 0 ? *warp.block : *warp.block->cluster->blocks[tag - 1];
  if (has_ended(block)) fault(warp, "shared memory of a block that has ended", lane);
  return block;
}

Barrier& barrier_at(Warp& warp, Block& block, uint32_t address, int lane) {
  const auto found = block.barriers.find(address % kBlockWindow);
  if (found == block.barriers.end()) fault(warp, "no mbarrier there", lane);
  return found->second;
}

void check_phase(Cluster& cluster, Barrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.known.resize(std::max(barrier.known.size(), barrier.seen.size()));
  for (size_t k = 0; k < barrier.seen.size(); ++k)
    if (barrier.seen[k] > barrier.known[k])
      throw Fault("an mbarrier's phase ends, of whose end before warp " + std::to_string(k) +
                  " may not have heard, in " + cluster.code->name);
  barrier.seen.clear();
  ++barrier.phase;
  cluster.idle = 0;
  barrier.pending = barrier.expected;
}

}  // namespace

// extra: how many a lane is to have. narrow: of those it had; it waits for more until others have
// given back as many.
void set_registers(Warp& w, const Instruction& i, uint32_t) {
  if (w.code->registers == 0)
    fault(w, "setmaxnreg without .maxntid and .minnctapersm, which ptxas ignores");
  const int more = static_cast<int>(i.extra) - w.registers;
  if (i.narrow ? more > 0 : more < 0)
    fault(w, "setmaxnreg from " + std::to_string(w.registers) + " registers the wrong way");
  if (more > w.block->spare) {
    w.yields = true;
    return;
  }
  w.block->cluster->idle = 0;
  w.block->spare -= more;
  w.registers += more;
}

// list: address, count
void barrier_init(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* at = w.code->lists.data() + i.list;
  each_lane(lanes, [&](int l) {
    const uint32_t address = w.u32(at[0])[l], count = w.u32(at[1])[l];
    if (address % 8 != 0) fault(w, "an mbarrier that is not aligned", l);
    if (count == 0 || count >= 1 << 20) fault(w, "an mbarrier's count out of range", l);
    shared_at(w, l, address, 8, true, false);
    if (w.block->barriers.count(address) != 0) fault(w, "an mbarrier that is one already", l);
    Barrier made;
    made.expected = made.pending = count;
    made.hidden_by = w.id;
    w.block->barriers[address] = made;
  });
}

// Others than its block's threads may use what this warp has made an mbarrier.
void barrier_show(Warp& w, const Instruction&, uint32_t) {
  for (auto& [address, barrier] : w.block->barriers)
    if (barrier.hidden_by == w.id) barrier.hidden_by = -1;
}

// list: address, bytes or -1. extra: of the cluster
void barrier_arrive(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* at = w.code->lists.data() + i.list;
  w.waited &= ~lanes;
  w.touched &= ~lanes;
  if ((w.waited | w.touched) == 0) go_on(w);
  each_lane(lanes, [&](int l) {
    const uint32_t address = w.u32(at[0])[l];
    if (i.extra == 0 && address >= kBlockWindow) fault(w, "another block's mbarrier", l);
    Barrier& barrier = barrier_at(w, block_of(w, address, l), address, l);
    if (address >= kBlockWindow && barrier.hidden_by >= 0)
      fault(w, "an mbarrier whose making no fence has shown to the cluster", l);
    if (at[1] >= 0) barrier.bytes += w.u32(at[1])[l];
    if (barrier.pending == 0) fault(w, "more arrive at an mbarrier than it counts", l);
    --barrier.pending;
    merge(barrier.known, w.known);
    check_phase(*w.block->cluster, barrier);
  });
}

void barrier_try(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* at = w.code->lists.data() + i.list;
  uint32_t set = 0;
  each_lane(lanes, [&](int l) {
    Barrier& barrier = barrier_at(w, *w.block, w.u32(at[0])[l], l);
    const uint32_t parity = w.u32(at[1])[l];
    if (parity > 1) fault(w, "a phase's parity above 1", l);
    // Whether the phase of that parity, this one or the one before, has ended.
    if ((barrier.phase & 1) != parity) {
      set |= 1u << l;
      merge(w.known, barrier.known);
      barrier.seen.resize(w.known.size());
      barrier.seen[w.id] = w.known[w.id] + 1;
    }
  });
  w.waited |= set;
  w.predicates[i.d] = (w.predicates[i.d] & ~lanes) | set;
  if (set != lanes) w.yields = true;
}

void map_address(Warp& w, const Instruction& i, uint32_t lanes) {
  each_lane(lanes, [&](int l) {
    const uint32_t rank = w.u32(i.b)[l], address = w.u32(i.a)[l];
    if (rank >= w.block->cluster->blocks.size()) fault(w, "a block that the cluster has not", l);
    if (address >= kBlockWindow) fault(w, "an address that was mapped already", l);
    w.u32(i.d)[l] = (rank + 1) * kBlockWindow + address;
  });
}

void cluster_arrive(Warp& w, const Instruction& i, uint32_t) {
  Cluster& cluster = *w.block->cluster;
  if (w.cluster_arrived) fault(w, "arrives twice without waiting for its cluster");
  w.cluster_arrived = true;
  w.cluster_phase = cluster.phase;
  if (i.extra != 0) {
    go_on(w);
    merge(cluster.arrived_known, w.known);
  }
  if (++cluster.arrived == cluster.live) {
    cluster.arrived = 0;
    ++cluster.phase;
    cluster.idle = 0;
  }
}

// ---- boxes
// ---------------------------------------------------------------------------------------

// list: shared, map, column, row, item, barrier, blocks or -1
void copy_box(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* at = w.code->lists.data() + i.list;
  each_lane(lanes, [&](int l) {
    BoxCopy copy{};
    copy.issuer = w.block;
    copy.map = w.u64(at[1])[l];
    for (int k = 0; k < 3; ++k) copy.at[k] = static_cast<int32_t>(w.u32(at[2 + k])[l]);
    copy.shared = w.u32(at[0])[l];
    copy.barrier = w.u32(at[5])[l];
    copy.blocks = at[6] >= 0 ? static_cast<uint16_t>(w.u32(at[6])[l])
                             : static_cast<uint16_t>(1u << w.block->rank);
    check_not_early(w, l);
    if (copy.map % 64 != 0) fault(w, "a tensor map that is not aligned", l);
    if (!w.block->cluster->memory->allows(copy.map, 128, false))
      fault(w, "a tensor map outside of memory", l);
    if (copy.shared % 1024 != 0) fault(w, "a swizzled box that is not aligned to 1024 bytes", l);
    if (copy.shared >= kBlockWindow || copy.barrier >= kBlockWindow)
      fault(w, "a copy to another block alone", l);
    if (copy.blocks == 0 || copy.blocks >> w.block->cluster->blocks.size() != 0)
      fault(w, "a copy to blocks that the cluster has not", l);
    if (barrier_at(w, *w.block, copy.barrier, l).hidden_by >= 0)
      fault(w, "an mbarrier whose making no fence has shown to copies", l);
    copy.known = w.known;
    w.block->cluster->copies.push_back(std::move(copy));
  });
}

void finish_copy(Cluster& cluster, const BoxCopy& copy) {
  TensorBoxes map;
  std::memcpy(&map, reinterpret_cast<const void*>(copy.map), sizeof(map));
  if (map.mark != TensorBoxes::kMark)
    throw Fault("a tensor map that no one made, in " + cluster.code->name);
  const auto engine = static_cast<int>(cluster.engine.size()) - 1;
  for (size_t rank = 0; rank < cluster.blocks.size(); ++rank) {
    if ((copy.blocks >> rank & 1) == 0) continue;
    Block& block = *cluster.blocks[rank];
    const uint32_t bytes = map.rows * 128;
    if (has_ended(block))
      throw Fault("a box is copied to a block that has ended, in " + cluster.code->name);
    if (copy.shared < kSharedBase || copy.shared + bytes > block.shared_end)
      throw Fault("a box that does not fit into shared memory, in " + cluster.code->name);
    const Clock& known = copy.known;
    const uint32_t now = cluster.engine[engine] + 1;
    touch(known, engine, nullptr, block, static_cast<int>(now & 0x7fff), copy.shared, bytes, true,
          now);
    for (uint32_t row = 0; row < map.rows; ++row)
      for (uint32_t piece = 0; piece < 8; ++piece) {
        const uint32_t at =
            copy.shared + row * 128 + ((piece ^ (copy.shared / 128 + row)) & 7) * 16;
        if (block.unfenced[at / 16 - kSharedBase / 16] != 0)
          throw Fault("a box is copied over what was written and not fenced, in " +
                      cluster.code->name);
        uint8_t* to = block.shared.data() + (at - kSharedBase);
        const int64_t r = int64_t{copy.at[1]} + row;
        for (int k = 0; k < 8; ++k) {
          const int64_t column = int64_t{copy.at[0]} + piece * 8 + k;
          uint16_t value = 0;
          if (column >= 0 && column < map.sizes[0] && r >= 0 && r < map.sizes[1] &&
              copy.at[2] >= 0 && copy.at[2] < map.sizes[2]) {
            const uint64_t from = map.data + static_cast<uint64_t>(column * 2 + r * map.strides[0] +
                                                                   copy.at[2] * map.strides[1]);
            if (!cluster.memory->allows(from, 2, false))
              throw Fault("a box of memory that is not its own, in " + cluster.code->name);
            std::memcpy(&value, reinterpret_cast<const void*>(from), 2);
          }
          std::memcpy(to + 2 * k, &value, 2);
        }
      }
    const auto found = block.barriers.find(copy.barrier);
    if (found == block.barriers.end())
      throw Fault("a copy's mbarrier is none, in " + cluster.code->name);
    if (found->second.hidden_by >= 0)
      throw Fault("a copy to a block whose mbarrier no fence has shown, in " + cluster.code->name);
    cluster.engine[engine] = now;
    Clock after(cluster.engine.size());
    after[engine] = now + 1;
    merge(found->second.known, after);
    found->second.bytes -= bytes;
    check_phase(cluster, found->second);
  }
}

// ---- products
// ------------------------------------------------------------------------------------

void show_to_products(Warp& w, const Instruction&, uint32_t) {
  for (const uint32_t piece : w.dirty) {
    int& by = w.block->unfenced[piece - kSharedBase / 16];
    if (by == w.id + 1) by = 0;
  }
  w.dirty.clear();
}

void products_fence(Warp& w, const Instruction&, uint32_t) { w.fenced = w.now; }

void products_commit(Warp& w, const Instruction&, uint32_t) { ++w.products; }

void products_wait(Warp& w, const Instruction& i, uint32_t) {
  const uint32_t done = w.products > i.extra ? w.products - static_cast<uint32_t>(i.extra) : 0;
  w.products_done = std::max(w.products_done, done);
  while (!w.pieces.empty() && w.pieces.front().group <= w.products_done) {
    touch(w.known, w.id, &w, *w.block, 0, w.pieces.front().offset, 16, false, w.known[w.id]);
    w.pieces.pop_front();
  }
}

namespace {

float e4m3_at(uint8_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  float size;
  if (exponent == 15 && mantissa == 7)
    size = std::nanf("");
  else if (exponent == 0)
    size = std::ldexp(static_cast<float>(mantissa), -9);
  else
    size = std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -size : size;
}

struct Descriptor {
  uint32_t start, leading, stride;
  Descriptor(Warp& w, uint64_t bits)
      : start((bits & 0x3fff) << 4),
        leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4) {
    if (bits >> 62 != 1) fault(w, "a matrix that is not swizzled by 128 bytes");
    if ((bits >> 49 & 7) != 0) fault(w, "a matrix's base offset");
  }
  // Of 16-bit or 8-bit elements: row by row, k bytes along it; eight rows are an atom.
  uint32_t along(uint32_t row, uint32_t bytes) const {
    return start + row / 8 * stride + row % 8 * 128 + bytes;
  }
};

// The piece of 16 bytes that holds an address, swizzled.
uint32_t swizzled(uint32_t address) { return address ^ (address >> 3 & 0x70); }

}  // namespace

// list: sums, a (one descriptor or four registers), b
void multiply_group(Warp& w, const Instruction& i, uint32_t) {
  const int* at = w.code->lists.data() + i.list;
  const int columns = static_cast<int>(i.extra & 0xffff);
  const bool registers = i.extra >> 16 & 1, transposed = i.extra >> 17 & 1,
             e4m3 = i.extra >> 18 & 1;
  const int sums = columns / 2, depth = e4m3 ? 32 : 16;
  const uint32_t group = w.products + 1;
  const uint32_t add = w.predicates[i.c];
  if (add != 0 && add != kAll) fault(w, "lanes do not agree whether a product is added");

  if (w.fenced == 0) fault(w, "a product without a wgmma.fence ahead of it");
  const auto check_register = [&](int place) {
    if (w.used[place / kLanes] > w.fenced)
      fault(w, "a product uses registers that others used since the last wgmma.fence");
  };
  const auto same = [&](int place) {
    for (int l = 1; l < kLanes; ++l)
      if (w.u64(place)[l] != w.u64(place)[0]) fault(w, "lanes do not agree where a matrix is");
    return w.u64(place)[0];
  };
  const auto piece_at = [&](uint32_t address) {
    const uint32_t offset = swizzled(address);
    const uint32_t piece = offset & ~15u;
    if (piece < kSharedBase || piece + 16 > w.block->shared_end)
      fault(w, "a matrix outside of shared memory");
    if (w.block->unfenced[piece / 16 - kSharedBase / 16] != 0)
      fault(w, "a product reads what was written without fence.proxy.async, by warp " +
                   std::to_string(w.block->unfenced[piece / 16 - kSharedBase / 16] - 1));
    if (w.pieces.empty() || w.pieces.back().offset != piece || w.pieces.back().group != group) {
      touch(w.known, w.id, &w, *w.block, 0, piece, 16, false, kNotOver);
      w.pieces.push_back({piece, group});
    }
    return w.block->shared.data() + (offset - kSharedBase);
  };
  const auto number_at = [&](uint32_t address) {
    const uint8_t* from = piece_at(address);
    if (e4m3) return e4m3_at(*from);
    uint16_t half;
    std::memcpy(&half, from, 2);
    return std::bit_cast<float>(static_cast<uint32_t>(half) << 16);
  };

  const uint64_t left = registers ? 0 : same(at[sums]);
  const uint64_t right = same(at[sums + (registers ? 4 : 1)]);
  const Product own{w.here, left, right, add != 0};
  const size_t first = w.number / 4 * 4;
  auto& products = w.block->products[w.number / 4];
  if (w.issued == products.size()) {
    for (size_t k = first; k < first + 4; ++k)
      if (k >= w.block->warps.size() || w.block->warps[k]->alive == 0)
        fault(w, "a product of a warpgroup that is not whole");
    products.push_back(own);
  } else if (products[w.issued] != own) {
    fault(w, "warps of a warpgroup do not agree about a product");
  }
  ++w.issued;

  std::vector<float> a(16 * depth), b(columns * depth);
  const uint32_t element = e4m3 ? 1 : 2;
  if (registers) {
    for (int k = 0; k < 4; ++k) {
      check_register(at[sums + k]);
      if (w.in_flight[at[sums + k] / kLanes] > w.products_done)
        fault(w, "a product's left side is still written");
    }
    for (int l = 0; l < kLanes; ++l)
      for (int k = 0; k < 2; ++k) {
        const int g = l / 4, t = l % 4 * 2 + k;
        const auto half = [&](int which) {
          const uint32_t pair = w.u32(at[sums + which])[l];
          return std::bit_cast<float>(k ? pair & 0xffff0000u : pair << 16);
        };
        a[g * 16 + t] = half(0);
        a[(g + 8) * 16 + t] = half(1);
        a[g * 16 + t + 8] = half(2);
        a[(g + 8) * 16 + t + 8] = half(3);
      }
  } else {
    const Descriptor from(w, left);
    for (int r = 0; r < 16; ++r)
      for (int k = 0; k < depth; ++k)
        a[r * depth + k] = number_at(from.along(w.number % 4 * 16 + r, k * element));
  }
  const Descriptor from(w, right);
  for (int n = 0; n < columns; ++n)
    for (int k = 0; k < depth; ++k)
      // Transposed: rows are of k, 64 numbers each.
      b[n * depth + k] = number_at(transposed ? from.start + n / 64 * from.leading +
                                                    k / 8 * from.stride + k % 8 * 128 + n % 64 * 2
                                              : from.along(n, k * element));
  for (int k = 0; k < sums; ++k) check_register(at[k]);
  for (int l = 0; l < kLanes; ++l)
    for (int k = 0; k < sums; ++k) {
      const int row = l / 4 + 8 * (k / 2 % 2), column = k / 4 * 8 + l % 4 * 2 + k % 2;
      float* sum = reinterpret_cast<float*>(w.u32(at[k])) + l;
      double all = add != 0 ? *sum : 0;
      for (int d = 0; d < depth; ++d)
        all += static_cast<double>(a[row * depth + d]) * b[column * depth + d];
      *sum = static_cast<float>(all);
    }
  for (int k = 0; k < sums; ++k) {
    w.in_flight[at[k] / kLanes] = group;
    w.used[at[k] / kLanes] = 0;
  }
}

}  // namespace ptx

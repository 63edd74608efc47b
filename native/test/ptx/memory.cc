// Which memory may be touched, and who touched shared memory before.
#include <algorithm>

#include "machine.h"

namespace ptx {

void Memory::add(void* begin, size_t bytes, bool writable) {
  const auto at = reinterpret_cast<uint64_t>(begin);
  ranges_[at] = {at + bytes, writable};
}
void Memory::remove(void* begin) {
  ranges_.erase(reinterpret_cast<uint64_t>(begin));
  begin_ = 1;
  end_ = 0;
}
bool Memory::allows(uint64_t address, size_t bytes, bool write) {
  if (address >= begin_ && address + bytes <= end_ && (!write || last_writable_)) return true;
  auto found = ranges_.upper_bound(address);
  if (found == ranges_.begin()) return false;
  --found;
  if (address + bytes > found->second.end || (write && !found->second.writable)) return false;
  begin_ = found->first;
  end_ = found->second.end;
  last_writable_ = found->second.writable;
  return true;
}

std::string Code::where(size_t instruction) const {
  const Source& at = places[instruction];
  std::string made = "line " + std::to_string(instructions[instruction].line) + " of its PTX";
  const auto add = [&](const char* before, int file, int line) {
    if (files == nullptr || files->count(file) == 0) return;
    const std::string& path = files->at(file);
    made += before + path.substr(path.find_last_of('/') + 1) + ":" + std::to_string(line);
  };
  add(", ", at.file, at.line);
  add(" from ", at.caller_file, at.caller_line);
  return made;
}

void fault(const Warp& warp, const std::string& what, int lane) {
  const Dim& block = warp.block->index;
  char place[512];
  std::snprintf(place, sizeof(place), "%s\n  in %s, %s, block (%u, %u, %u), warp %d, lane %d",
                what.c_str(), warp.code->name.c_str(), warp.code->where(warp.here).c_str(), block.x,
                block.y, block.z, warp.number, lane);
  throw Fault(place);
}

void merge(Clock& to, const Clock& from) {
  if (to.size() < from.size()) to.resize(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = std::max(to[i], from[i]);
}

namespace {

std::string race(const char* what, const Access& other, const char* memory = "shared") {
  return std::string(memory) + " memory: " + what + " by warp " + std::to_string(other.warp) +
         " lane " + std::to_string(other.lane) + " with nothing between them";
}

}  // namespace

void touch(const Clock& known, int id, const Warp* who, Block& block, int lane, uint32_t offset,
           size_t bytes, bool write, uint32_t clock) {
  Cluster& cluster = *block.cluster;
  if (!cluster.races || bytes < 2) return;  // two bytes are the smallest that is told apart
  const auto ordered = [&](const Access& other) {
    if (other.warp == 0xffff) return true;
    if (other.clock == kNotOver) return false;
    if (other.warp == id) return other.lane == lane || other.clock < known[id];
    return other.clock < known[other.warp];
  };
  const auto fail = [&](const std::string& what) {
    if (who != nullptr) fault(*who, what + ", at " + std::to_string(offset), lane);
    throw Fault(what + ", by a copy of a box, in " + cluster.code->name);
  };
  Access own{static_cast<uint16_t>(id), static_cast<uint16_t>(lane), clock};
  const uint32_t later = clock == kNotOver ? clock : clock + 1;
  const size_t warps = known.size();
  const int shift = cluster.code->shared_shift;
  const size_t end = (offset - kSharedBase + bytes - 1) >> shift;
  for (size_t g = (offset - kSharedBase) >> shift; g <= end; ++g) {
    Touched& at = block.touched[g];
    if (!write && at.read == own && at.many < 0) continue;
    if (!ordered(at.write))
      fail(race(write ? "written twice," : "read after it was written", at.write));
    if (write) {
      if (at.many >= 0) {
        const uint32_t* readers = cluster.readers.data() + at.many;
        for (size_t k = 0; k < warps; ++k)
          if (readers[k] != 0 &&
              (readers[k] == kNotOver || (static_cast<int>(k) != id && readers[k] - 1 >= known[k])))
            fail(race("written after it was read", {static_cast<uint16_t>(k), 0, readers[k] - 1}));
      } else if (!ordered(at.read)) {
        fail(race("written after it was read", at.read));
      }
      at = {own, {}, -1};
    } else if (at.many >= 0) {
      cluster.readers[at.many + id] = later;
    } else if (at.read.warp == id) {
      const bool others = at.read.clock == clock && at.read.lane != lane;
      at.read = own;
      if (others) at.read.lane = kSeveralLanes;
    } else if (ordered(at.read)) {
      at.read = own;
    } else {
      at.many = static_cast<int>(cluster.readers.size());
      cluster.readers.resize(cluster.readers.size() + warps);
      uint32_t* readers = cluster.readers.data() + at.many;
      readers[at.read.warp] = at.read.clock == kNotOver ? kNotOver : at.read.clock + 1;
      readers[id] = later;
    }
  }
}

void check_not_early(const Warp& w, int lane) {
  if (w.early >> lane & 1)
    fault(w, "touches global memory while the kernel before may still run", lane);
}

void check_global(Warp& w, int lane, uint64_t address, size_t bytes, bool write) {
  if (!w.block->cluster->memory->allows(address, bytes, write))
    fault(w, std::string(write ? "writes" : "reads") + " global memory that is not its own", lane);
  const bool parameter =
      address - w.u64(w.code->parameter_base)[lane] < w.block->cluster->launch->parameters.size();
  if (!parameter) check_not_early(w, lane);
}

void touch_global(Warp& w, int lane, uint64_t address, size_t bytes, bool write) {
  Cluster& cluster = *w.block->cluster;
  if (!cluster.races || bytes < 2 || (!write && cluster.written.empty())) return;
  const auto found =
      write ? cluster.written.try_emplace(address / 16).first : cluster.written.find(address / 16);
  if (found == cluster.written.end()) return;
  const Access own{static_cast<uint16_t>(w.id), static_cast<uint16_t>(lane), w.known[w.id]};
  for (size_t k = address % 16 / 2; k < (address % 16 + bytes + 1) / 2; ++k) {
    Access& last = found->second.by[k];
    const bool mine = last.warp == own.warp && last.lane == own.lane;
    if (last.warp != 0xffff &&
        (found->second.cluster[k] != cluster.number || (!mine && last.clock >= w.known[last.warp])))
      fault(w, race(write ? "written twice," : "read after it was written", last, "global"), lane);
    if (!write) continue;
    last = own;
    found->second.cluster[k] = cluster.number;
  }
}

uint8_t* shared_at(Warp& warp, int lane, uint64_t address, size_t bytes, bool write, bool generic) {
  const uint64_t tag = address / kBlockWindow;
  Block* block = warp.block;
  if (tag > block->cluster->blocks.size()) fault(warp, "an address outside of shared memory", lane);
  if (tag != 0) block = block->cluster->blocks[tag - 1].get();
  const auto offset = static_cast<uint32_t>(address % kBlockWindow);
  if (offset < kSharedBase || offset + bytes > block->shared_end)
    fault(warp,
          "shared memory that is not the block's: " + std::to_string(offset) + " of " +
              std::to_string(kSharedBase) + " to " + std::to_string(block->shared_end),
          lane);
  touch(warp.known, warp.id, &warp, *block, lane, offset, bytes, write, warp.known[warp.id]);
  if (lane < kLanes) warp.touched |= 1u << lane;
  if (write && generic && warp.code->uses_products)
    for (uint32_t piece = offset / 16; piece <= (offset + bytes - 1) / 16; ++piece) {
      block->unfenced[piece - kSharedBase / 16] = warp.id + 1;
      warp.dirty.push_back(piece);
    }
  return block->shared.data() + (offset - kSharedBase);
}

}  // namespace ptx

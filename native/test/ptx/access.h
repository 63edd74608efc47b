// Loads and stores of every space.
#pragma once

#include <cstring>

#include "arithmetic.h"

namespace ptx {

enum class Space { global, shared, local, param, generic };

template <Space kSpace>
inline uint8_t* find(Warp& w, int lane, uint64_t address, size_t bytes, bool write) {
  if (address % bytes != 0)
    fault(w, "an address that is no multiple of " + std::to_string(bytes) + " bytes", lane);
  if constexpr (kSpace == Space::shared) return shared_at(w, lane, address, bytes, write);
  if constexpr (kSpace == Space::local) {
    const uint64_t offset = address & ~kLocalWindow;
    if (offset + bytes > w.code->local_bytes) fault(w, "outside of local memory", lane);
    return w.local.data() + static_cast<size_t>(lane) * w.code->local_bytes + offset;
  }
  if constexpr (kSpace == Space::generic) {
    if (address & kSharedWindow) return shared_at(w, lane, address & ~kSharedWindow, bytes, write);
    if (address & kLocalWindow) return find<Space::local>(w, lane, address, bytes, write);
  }
  check_global(w, lane, address, bytes, write);
  touch_global(w, lane, address, bytes, write);
  return reinterpret_cast<uint8_t*>(address);
}

// T: what lies in memory; R: the register's type, to which it is extended.
template <Space kSpace, class T, class R>
void load(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* to = w.code->lists.data() + i.list;
  const int first = __builtin_ctz(lanes);
  const uint64_t one = address_of(w, i, first);
  bool same = kSpace == Space::shared && (lanes & (lanes - 1)) != 0;
  if (same) each_lane(lanes, [&](int l) { same &= address_of(w, i, l) == one; });
  const uint8_t* all =
      same ? find<kSpace>(w, kSeveralLanes, one, sizeof(T) * i.count, false) : nullptr;
  if (same) w.touched |= lanes;
  each_lane(lanes, [&](int l) {
    const uint8_t* from =
        same ? all : find<kSpace>(w, l, address_of(w, i, l), sizeof(T) * i.count, false);
    for (int k = 0; k < i.count; ++k) {
      T value;
      std::memcpy(&value, from + k * sizeof(T), sizeof(T));
      if (to[k] >= 0) words<R>(w, to[k])[l] = to_word<R>(static_cast<R>(value));
    }
  });
}
template <Space kSpace, class T, class W>
void store(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* from = w.code->lists.data() + i.list;
  each_lane(lanes, [&](int l) {
    uint8_t* to = find<kSpace>(w, l, address_of(w, i, l), sizeof(T) * i.count, true);
    for (int k = 0; k < i.count; ++k) {
      const T value = from_word<T>(
          static_cast<Word<T>>(reinterpret_cast<const W*>(w.file.data() + from[k])[l]));
      std::memcpy(to + k * sizeof(T), &value, sizeof(T));
    }
  });
}

void to_shared(Warp& w, const Instruction& i, uint32_t lanes) {  // cvta.to.shared
  each_lane(lanes, [&](int l) { w.u64(i.d)[l] = w.u64(i.a)[l] & ~kSharedWindow; });
}
void from_shared(Warp& w, const Instruction& i, uint32_t lanes) {
  each_lane(lanes, [&](int l) { w.u64(i.d)[l] = w.u64(i.a)[l] | kSharedWindow; });
}
void from_local(Warp& w, const Instruction& i, uint32_t lanes) {
  each_lane(lanes, [&](int l) { w.u64(i.d)[l] = w.u64(i.a)[l] | kLocalWindow; });
}

}  // namespace ptx

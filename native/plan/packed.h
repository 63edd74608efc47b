// How a device finds what it has packed of constants, so that programs share it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

namespace hrsam::plan {

// A constant's address, its layout, and the bytes of what was packed.
using PackedKey = std::tuple<const void*, std::string, size_t>;
template <class T>
using PackedMap = std::map<PackedKey, T>;

// What was packed of this memory is no longer what it holds: programs that come pack it anew.
template <class T>
void forget_packed(PackedMap<T>& packed, const void* begin, uint64_t bytes) {
  const void* end = static_cast<const char*>(begin) + bytes;
  auto at = packed.lower_bound(PackedKey(begin, std::string(), 0));
  while (at != packed.end() && std::get<0>(at->first) < end) at = packed.erase(at);
}

}  // namespace hrsam::plan

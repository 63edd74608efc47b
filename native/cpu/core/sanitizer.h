// AddressSanitizer's view of memory that is shared by one array after the other.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace hrsam::cpu {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kGuardBytes = 64;
// `used` bytes may be touched, the rest of `bytes` may not.
inline void guard(void* memory, size_t used, size_t bytes) {
  ASAN_UNPOISON_MEMORY_REGION(memory, used);
  ASAN_POISON_MEMORY_REGION(static_cast<char*>(memory) + used, bytes - used);
}
#else
constexpr size_t kGuardBytes = 0;
inline void guard(void*, size_t, size_t) {}
#endif

}  // namespace hrsam::cpu

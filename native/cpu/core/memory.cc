#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "../../plan/failure.h"
#include "op.h"

namespace hrsam::cpu {

using plan::fail;

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;
// From here on an allocation is checked against what is free: Linux promises memory it does not
// have, and the process would be killed on first use instead of getting an error.
constexpr size_t kCheckedBytes = size_t{64} << 20;

uint64_t read_number(const char* path) {
  uint64_t value = 0;
  if (FILE* file = std::fopen(path, "r")) {
    if (std::fscanf(file, "%" SCNu64, &value) != 1) value = 0;
    std::fclose(file);
  }
  return value;
}

uint64_t meminfo(const char* field) {
  uint64_t kilobytes = 0;
  if (FILE* file = std::fopen("/proc/meminfo", "r")) {
    char line[128];
    const size_t length = std::strlen(field);
    while (std::fgets(line, sizeof(line), file) != nullptr) {
      if (std::strncmp(line, field, length) == 0 && line[length] == ':') {
        kilobytes = std::strtoull(line + length + 1, nullptr, 10);
        break;
      }
    }
    std::fclose(file);
  }
  return kilobytes * 1024;
}

}  // namespace

uint64_t total_memory() {
  uint64_t total = meminfo("MemTotal");
  if (total == 0)
    total = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
            static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
  return limit != 0 ? std::min(total, limit) : total;
}

uint64_t available_memory() {
  uint64_t available = meminfo("MemAvailable");
  if (available == 0) available = total_memory();
  const uint64_t limit = read_number("/sys/fs/cgroup/memory.max");
  if (limit != 0) {
    const uint64_t used = read_number("/sys/fs/cgroup/memory.current");
    available = std::min(available, limit > used ? limit - used : 0);
  }
  return available;
}

Block::Block(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) bytes = 1;
  if (bytes >= kCheckedBytes && bytes > available_memory())
    fail("ERR_OUT_OF_MEMORY", "%zu MiB needed, %" PRIu64 " MiB available", bytes >> 20,
         available_memory() >> 20);
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  if (posix_memalign(&data_, alignment, bytes) != 0) {
    data_ = nullptr;
    fail("ERR_OUT_OF_MEMORY", "%zu bytes needed", bytes);
  }
#ifdef MADV_HUGEPAGE
  if (bytes >= kHugePage) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
}

Block::~Block() { std::free(data_); }

Block& Block::operator=(Block&& other) noexcept {
  if (this != &other) {
    std::free(data_);
    data_ = other.data_;
    bytes_ = other.bytes_;
    other.data_ = nullptr;
    other.bytes_ = 0;
  }
  return *this;
}

}  // namespace hrsam::cpu

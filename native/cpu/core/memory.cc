#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

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

constexpr char kControlGroup[] = "/sys/fs/cgroup";

uint64_t read_number(const std::string& path) {
  uint64_t value = 0;
  if (FILE* file = std::fopen(path.c_str(), "r")) {
    if (std::fscanf(file, "%" SCNu64, &value) != 1) value = 0;
    std::fclose(file);
  }
  return value;
}

// The number behind "field" or "field:" in a file of such lines; 0 where there is none.
uint64_t read_field(const std::string& path, const char* field) {
  uint64_t value = 0;
  if (FILE* file = std::fopen(path.c_str(), "r")) {
    char line[128];
    const size_t length = std::strlen(field);
    while (std::fgets(line, sizeof(line), file) != nullptr) {
      const char after = std::strncmp(line, field, length) == 0 ? line[length] : 0;
      if (after == ':' || after == ' ') {
        value = std::strtoull(line + length + 1, nullptr, 10);
        break;
      }
    }
    std::fclose(file);
  }
  return value;
}

uint64_t meminfo(const char* field) { return read_field("/proc/meminfo", field) * 1024; }

}  // namespace

uint64_t total_memory() {
  uint64_t total = meminfo("MemTotal");
  if (total == 0)
    total = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) *
            static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t limit = read_number(std::string(kControlGroup) + "/memory.max");
  return limit != 0 ? std::min(total, limit) : total;
}

uint64_t control_group_room(const std::string& folder) {
  const uint64_t limit = read_number(folder + "/memory.max");
  if (limit == 0) return UINT64_MAX;
  const uint64_t used = read_number(folder + "/memory.current");
  const std::string parts = folder + "/memory.stat";
  const uint64_t files = read_field(parts, "inactive_file") + read_field(parts, "active_file");
  const uint64_t kept = used - std::min(used, files);
  return limit - std::min(limit, kept);
}

uint64_t available_memory() {
  uint64_t available = meminfo("MemAvailable");
  if (available == 0) available = total_memory();
  return std::min(available, control_group_room(kControlGroup));
}

Block::Block(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) bytes = 1;
  if (bytes >= kCheckedBytes && bytes > available_memory())
    fail("ERR_OUT_OF_MEMORY", "%zu MiB needed, %" PRIu64 " MiB available", bytes >> 20,
         available_memory() >> 20);
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  if (posix_memalign(&data_, alignment, bytes) != 0) {
    data_ = nullptr;
    fail("ERR_OUT_OF_MEMORY", "out of memory: %zu bytes needed", bytes);
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

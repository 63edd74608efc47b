// A plan's values as a program has them, while it is built and while it runs. Common to all
// backends; memory is told apart by address alone.
#pragma once

#include <cinttypes>
#include <vector>

#include "failure.h"
#include "node.h"

namespace hrsam::plan {

struct PlanBuffer {
  char* data;
  uint64_t bytes;
};

struct ProgramValues {
  std::vector<hrsam_value> placement;
  std::vector<Value> values;
  std::vector<void*> constants;  // by value; null where not constant
  std::vector<uint64_t> input_bytes, output_bytes;

  // All of a plan's values, checked. `buffers`: the plan's.
  void add_values(const hrsam_plan& plan, const std::vector<PlanBuffer>& buffers);
  // The values that a node reads, after a check of them and of its result.
  std::vector<int32_t> operands_of(const hrsam_node& node) const;
  bool is_folded(int32_t value) const { return at(placement, value).storage == HRSAM_FOLDED; }
  // Lets the result of a node that runs but once, and all views of it, be at `data`.
  void place_folded(const hrsam_node& node, char* data);
  // Where the values are in a run whose arena, inputs and outputs begin there.
  std::vector<void*> addresses(char* arena, const std::vector<char*>& inputs,
                               const std::vector<char*>& outputs) const;

 private:
  template <class T>
  static const T& at(const std::vector<T>& list, int32_t value) {
    return list[static_cast<size_t>(value)];
  }
  void check_index(int32_t value, const hrsam_node& node) const;
};

// Where a run's inputs or outputs begin; they must be as large as the plan says.
template <class Buffer>
std::vector<char*> begins(const char* kind, const std::vector<uint64_t>& wanted,
                          Buffer* const* buffers) {
  std::vector<char*> found;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (buffers[i]->bytes < wanted[i])
      fail("ERR_INTERNAL", "%s %zu: %" PRIu64 " bytes needed, got %" PRIu64, kind, i, wanted[i],
           buffers[i]->bytes);
    found.push_back(static_cast<char*>(buffers[i]->data()));
  }
  return found;
}

// Bytes of a buffer that are read or written.
inline void check_range(uint64_t size, uint64_t offset, uint64_t bytes) {
  if (offset > size || bytes > size - offset)
    fail("ERR_INTERNAL", "past the end of a buffer of %" PRIu64 " bytes", size);
}

}  // namespace hrsam::plan

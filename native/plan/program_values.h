// A plan's values as a program has them, while it is built and while it runs. Common to all
// backends; memory is told apart by address alone.
#pragma once

#include <vector>

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

 private:
  template <class T>
  static const T& at(const std::vector<T>& list, int32_t value) {
    return list[static_cast<size_t>(value)];
  }
  void check_index(int32_t value, const hrsam_node& node) const;
};

}  // namespace hrsam::plan

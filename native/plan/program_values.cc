#include "program_values.h"

#include <algorithm>

#include "check_value.h"

namespace hrsam::plan {

namespace {

void grow(std::vector<uint64_t>& sizes, int32_t slot, uint64_t bytes) {
  uint64_t& size = sizes[static_cast<size_t>(slot)];
  size = std::max(size, bytes);
}

}  // namespace

void ProgramValues::add_values(const hrsam_plan& plan, const std::vector<PlanBuffer>& buffers) {
  input_bytes.assign(static_cast<size_t>(plan.input_count), 0);
  output_bytes.assign(static_cast<size_t>(plan.output_count), 0);
  for (int i = 0; i < plan.value_count; ++i) {
    const hrsam_value& from = plan.values[i];
    const bool constant = from.storage == HRSAM_CONSTANT;
    const bool known = constant && from.slot >= 0 && from.slot < plan.buffer_count;
    check_value(plan, from, i, known ? at(buffers, from.slot).bytes : 0);
    Value value;
    value.dtype = static_cast<DType>(from.dtype);
    value.rank = from.rank;
    std::copy(from.dims, from.dims + from.rank, value.dims);
    void* data = constant ? at(buffers, from.slot).data + from.offset : nullptr;
    value.data = data;
    value.offset = from.offset;
    const auto end = from.offset + static_cast<uint64_t>(value.bytes());
    if (from.storage == HRSAM_INPUT) grow(input_bytes, from.slot, end);
    if (from.storage == HRSAM_OUTPUT) grow(output_bytes, from.slot, end);
    placement.push_back(from);
    values.push_back(value);
    constants.push_back(data);
  }
}

void ProgramValues::check_index(int32_t value, const hrsam_node& node) const {
  if (value < 0 || static_cast<size_t>(value) >= values.size())
    fail("ERR_INTERNAL", "%s (%s): value index", node.layer, node.op);
}

std::vector<int32_t> ProgramValues::operands_of(const hrsam_node& node) const {
  check_index(node.result, node);
  const int32_t storage = at(placement, node.result).storage;
  if (storage == HRSAM_INPUT || storage == HRSAM_CONSTANT)
    fail("ERR_INTERNAL", "%s (%s): writes an input or a constant", node.layer, node.op);
  std::vector<int32_t> operands;
  for (int i = 0; i < node.operand_count; ++i) {
    const int32_t value = node.operands[i].value;
    check_index(value, node);
    if (is_folded(value) && at(constants, value) == nullptr)
      fail("ERR_INTERNAL", "%s (%s): reads a folded value before it is there", node.layer, node.op);
    operands.push_back(value);
  }
  return operands;
}

void ProgramValues::place_folded(const hrsam_node& node, char* data) {
  for (int i = 0; i < node.operand_count; ++i)
    if (at(constants, node.operands[i].value) == nullptr)
      fail("ERR_INTERNAL", "%s (%s): folded, but reads a value that is not", node.layer, node.op);
  const auto bytes = static_cast<uint64_t>(at(values, node.result).bytes());
  // Reshapes of it share its memory: the plan gives them the same slot.
  const int32_t slot = at(placement, node.result).slot;
  for (size_t i = 0; i < values.size(); ++i) {
    const hrsam_value& place = placement[i];
    if (place.storage != HRSAM_FOLDED || place.slot != slot) continue;
    if (static_cast<uint64_t>(values[i].bytes()) + place.offset > bytes)
      fail("ERR_INTERNAL", "%s (%s): a view of it is larger", node.layer, node.op);
    values[i].data = constants[i] = data + place.offset;
  }
}

std::vector<void*> ProgramValues::addresses(char* arena, const std::vector<char*>& inputs,
                                            const std::vector<char*>& outputs) const {
  std::vector<void*> found = constants;
  for (size_t i = 0; i < found.size(); ++i) {
    const hrsam_value& value = placement[i];
    const auto slot = static_cast<size_t>(value.slot);
    char* base = nullptr;
    if (value.storage == HRSAM_ARENA) base = arena;
    if (value.storage == HRSAM_INPUT) base = inputs[slot];
    if (value.storage == HRSAM_OUTPUT) base = outputs[slot];
    if (base != nullptr) found[i] = base + value.offset;
  }
  return found;
}

}  // namespace hrsam::plan

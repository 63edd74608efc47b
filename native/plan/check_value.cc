#include "check_value.h"

#include <algorithm>

#include "failure.h"
#include "node.h"

namespace hrsam::plan {

void check_value(const hrsam_plan& plan, const hrsam_value& value, int index,
                 uint64_t buffer_bytes) {
  if (value.rank < 0 || value.rank > HRSAM_MAX_RANK)
    fail("ERR_INTERNAL", "value %d: rank %d", index, value.rank);
  if (value.dtype < HRSAM_F32 || value.dtype > HRSAM_U8)
    fail("ERR_INTERNAL", "value %d: dtype %d", index, value.dtype);
  uint64_t bytes = static_cast<uint64_t>(dtype_bytes(static_cast<DType>(value.dtype)));
  bool empty = false;
  for (int i = 0; i < value.rank; ++i) {
    if (value.dims[i] < 0) fail("ERR_INTERNAL", "value %d: negative size", index);
    empty |= value.dims[i] == 0;  // its other sides are multiplied all the same, by the ops
    const uint64_t side = std::max<uint64_t>(1, static_cast<uint64_t>(value.dims[i]));
    if (__builtin_mul_overflow(bytes, side, &bytes) || bytes > INT64_MAX)
      fail("ERR_OUT_OF_MEMORY", "value %d: its size overflows 63 bits", index);
  }
  if (empty) bytes = 0;
  uint64_t end = 0;
  if (__builtin_add_overflow(value.offset, bytes, &end))
    fail("ERR_INTERNAL", "value %d: offset", index);
  switch (value.storage) {
    case HRSAM_INPUT:
      if (value.slot < 0 || value.slot >= plan.input_count)
        fail("ERR_INTERNAL", "value %d: input slot", index);
      break;
    case HRSAM_OUTPUT:
      if (value.slot < 0 || value.slot >= plan.output_count)
        fail("ERR_INTERNAL", "value %d: output slot", index);
      break;
    case HRSAM_CONSTANT:
      if (value.slot < 0 || value.slot >= plan.buffer_count)
        fail("ERR_INTERNAL", "value %d: buffer slot", index);
      if (end > buffer_bytes) fail("ERR_INTERNAL", "value %d: past its buffer's end", index);
      break;
    case HRSAM_ARENA:
      if (end > plan.arena_bytes) fail("ERR_INTERNAL", "value %d: past the arena's end", index);
      break;
    case HRSAM_FOLDED:
      break;
    default:
      fail("ERR_INTERNAL", "value %d: storage %d", index, value.storage);
  }
}

}  // namespace hrsam::plan

#pragma once

#include "../include/hrsam_backend.h"

namespace hrsam::plan {

// Throws what is wrong with a value of a plan, of which index says the place. A plan comes from our
// own graph layer, but a wrong one must end in an error, not in a stray write.
// buffer_bytes: the size of a constant's buffer, where the plan has it.
void check_value(const hrsam_plan& plan, const hrsam_value& value, int index,
                 uint64_t buffer_bytes);

}  // namespace hrsam::plan

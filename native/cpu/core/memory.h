// How much memory there is, and blocks of it.
#pragma once

#include <cstdint>

namespace hrsam::cpu {

// Physical memory, or the control group's limit where that is lower.
uint64_t total_memory();
// What can be allocated before the system starts to swap or kill.
uint64_t available_memory();

}  // namespace hrsam::cpu

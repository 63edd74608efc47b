// How much memory there is, and blocks of it.
#pragma once

#include <cstdint>
#include <string>

namespace hrsam::cpu {

// Physical memory, or the control group's limit where that is lower.
uint64_t total_memory();
// What can be allocated before the system starts to swap or kill.
uint64_t available_memory();
// What a control group (its folder, of version 2) may still take; pages of files that it has read
// do not count, as they are given back first. UINT64_MAX where nothing limits it.
uint64_t control_group_room(const std::string& folder);

}  // namespace hrsam::cpu

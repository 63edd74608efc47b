#pragma once

#include "../../include/hrsam_backend.h"

// The CPU behind the C ABI. Linked into the addon and the native tests.
const hrsam_backend* hrsam_cpu_backend();

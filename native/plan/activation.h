#pragma once

#include "op.h"

namespace HRSAM_OPS {

// The ops' attribute "activation".
enum class Activation { none = 0, gelu = 1, silu = 2, relu = 3, sigmoid = 4 };

}  // namespace HRSAM_OPS

#pragma once

#include "op.h"

namespace HRSAM_OPS {

enum class Activation { none = 0, gelu = 1, silu = 2, relu = 3, sigmoid = 4 };

// The ops' attribute of that name.
inline Activation activation_of(const Node& node) {
  const int64_t number = node.integer("activation");
  if (number < 0 || number > static_cast<int64_t>(Activation::sigmoid))
    node.fail("ERR_ARGUMENT", "activation: unknown");
  return static_cast<Activation>(number);
}

}  // namespace HRSAM_OPS

// What stands behind a Node while its program is built.
#pragma once

#include <vector>

#include "../../include/hrsam_backend.h"
#include "failure.h"
#include "op.h"

namespace hrsam::cpu {

struct Node::Impl {
  const hrsam_node* node;
  const std::vector<Value>* values;
};

}  // namespace hrsam::cpu

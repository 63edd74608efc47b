// Reads a plan object (lib/runtime/plan.ts) into the backend's structs.
#pragma once

#include <napi.h>

#include <deque>
#include <string>
#include <vector>

#include "hrsam_backend.h"

namespace hrsam {

// Owns everything that the hrsam_plan points to.
class Plan {
 public:
  explicit Plan(Napi::Object object);
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  hrsam_plan plan{};

 private:
  const char* keep(std::string text);
  std::vector<hrsam_value> values_;
  std::vector<hrsam_node> nodes_;
  std::deque<std::vector<hrsam_operand>> operands_;
  std::deque<std::vector<hrsam_attribute>> attributes_;
  std::deque<std::vector<double>> numbers_;
  std::deque<std::string> texts_;
};

}  // namespace hrsam

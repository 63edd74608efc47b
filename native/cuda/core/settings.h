// The environment's switches.
#pragma once

#include <cstdlib>
#include <string>

#include "../../plan/failure.h"

namespace hrsam::cuda {

// 0, 1 or nothing. To be asked once: JavaScript may change the environment while products are
// launched.
inline std::string switch_setting(const char* name) {
  const char* value = std::getenv(name);
  const std::string given = value == nullptr ? "" : value;
  if (!given.empty() && given != "0" && given != "1")
    plan::fail("ERR_ARGUMENT", "%s: expected 0 or 1, got '%s'", name, given.c_str());
  return given;
}

}  // namespace hrsam::cuda

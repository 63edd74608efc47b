#include "hopper.h"

#include <cstdlib>
#include <string>

#include "runtime.h"

namespace hrsam::cuda {

namespace {

// 0, 1 or nothing.
std::string setting(const char* name) {
  const char* value = std::getenv(name);
  const std::string given = value == nullptr ? "" : value;
  if (!given.empty() && given != "0" && given != "1")
    plan::fail("ERR_ARGUMENT", "%s: expected 0 or 1, got '%s'", name, given.c_str());
  return given;
}

}  // namespace

HopperUse hopper_use() {
  // Once: JavaScript may change the environment while products are launched.
  static const std::string wanted = setting("HRSAM_CUDA_WGMMA");
  if (wanted == "0") return HopperUse::never;
  const int capability = gpu::chip().capability;
  if (wanted == "1" && capability != 90)
    plan::fail("ERR_ARGUMENT", "HRSAM_CUDA_WGMMA=1: this GPU has compute capability %d.%d, not 9.0",
               capability / 10, capability % 10);
  if (capability != 90) return HopperUse::never;
  return wanted == "1" ? HopperUse::wherever_it_fits : HopperUse::where_it_pays;
}

bool hopper_squares() {
  static const bool wanted = setting("HRSAM_CUDA_SQUARES") != "0";
  return wanted;
}

}  // namespace hrsam::cuda

#include "hopper.h"

#include <cstdlib>
#include <string>

#include "runtime.h"

namespace hrsam::cuda {

HopperUse hopper_use() {
  // Once: JavaScript may change the environment while products are launched.
  static const std::string wanted = [] {
    const char* value = std::getenv("HRSAM_CUDA_WGMMA");
    return std::string(value == nullptr ? "" : value);
  }();
  if (wanted == "0") return HopperUse::never;
  if (!wanted.empty() && wanted != "1")
    plan::fail("ERR_ARGUMENT", "HRSAM_CUDA_WGMMA: expected 0 or 1, got '%s'", wanted.c_str());
  const int capability = gpu::chip().capability;
  if (wanted == "1" && capability != 90)
    plan::fail("ERR_ARGUMENT", "HRSAM_CUDA_WGMMA=1: this GPU has compute capability %d.%d, not 9.0",
               capability / 10, capability % 10);
  if (capability != 90) return HopperUse::never;
  return wanted == "1" ? HopperUse::wherever_it_fits : HopperUse::where_it_pays;
}

bool hopper_squares() {
  static const bool wanted = [] {
    const char* value = std::getenv("HRSAM_CUDA_SQUARES");
    return value == nullptr || *value != '0';
  }();
  return wanted;
}

}  // namespace hrsam::cuda

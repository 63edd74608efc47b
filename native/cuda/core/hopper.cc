#include "hopper.h"

#include <string>

#include "runtime.h"
#include "settings.h"

namespace hrsam::cuda {

HopperUse hopper_use() {
  static const std::string wanted = switch_setting("HRSAM_CUDA_WGMMA");
  if (wanted == "0") return HopperUse::never;
  const int capability = gpu::chip().capability;
  if (wanted == "1" && capability != 90)
    plan::fail("ERR_ARGUMENT", "HRSAM_CUDA_WGMMA=1: this GPU has compute capability %d.%d, not 9.0",
               capability / 10, capability % 10);
  if (capability != 90) return HopperUse::never;
  return wanted == "1" ? HopperUse::wherever_it_fits : HopperUse::where_it_pays;
}

bool hopper_squares() {
  static const bool wanted = switch_setting("HRSAM_CUDA_SQUARES") != "0";
  return wanted;
}

}  // namespace hrsam::cuda

// The normalised focal loss of every sample.
#include "../plan/gradient_checks.h"
#include "focal.h"
#include "mask_loss.h"

namespace hrsam::cpu::HRSAM_ISA {

Op* compile_focal_loss(const Node& node, Compiler&) {
  check_sample_loss(node, "logits", "labels");
  return new MaskLoss<FocalLoss>(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA

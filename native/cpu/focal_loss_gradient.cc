// Gradient of the normalised focal loss with respect to the logits; the normaliser, computed again,
// counts as a constant.
#include "../plan/gradient_checks.h"
#include "focal.h"
#include "mask_loss.h"

namespace hrsam::cpu::HRSAM_ISA {

Op* compile_focal_loss_gradient(const Node& node, Compiler&) {
  check_sample_loss_gradient(node, "logits", "labels");
  return new MaskLossGradient<FocalLoss>(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA

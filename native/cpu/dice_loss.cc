// The dice loss of every sample.
#include "../plan/gradient_checks.h"
#include "dice.h"
#include "mask_loss.h"

namespace hrsam::cpu::HRSAM_ISA {

Op* compile_dice_loss(const Node& node, Compiler&) {
  check_sample_loss(node, "logits", "labels");
  return new MaskLoss<DiceLoss>(node);
}

}  // namespace hrsam::cpu::HRSAM_ISA

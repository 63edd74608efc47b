// Gradient of the dice loss with respect to the logits.
#include "../plan/gradient_checks.h"
#include "dice.h"
#include "mask_loss.h"

namespace hrsam::cuda {

Op* compile_dice_loss_gradient(const Node& node, Compiler&) {
  check_sample_loss_gradient(node, "logits", "labels");
  return mask_loss_gradient<DiceLoss>(node);
}

}  // namespace hrsam::cuda

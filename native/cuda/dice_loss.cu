// The dice loss of every sample.
#include "../plan/gradient_checks.h"
#include "dice.h"
#include "mask_loss.h"

namespace hrsam::cuda {

Op* compile_dice_loss(const Node& node, Compiler&) {
  check_sample_loss(node, "logits", "labels");
  return mask_loss<DiceLoss>(node);
}

}  // namespace hrsam::cuda

// Gradient of the normalised focal loss with respect to the logits.
#include "../plan/gradient_checks.h"
#include "focal.h"
#include "mask_loss.h"

namespace hrsam::cuda {

Op* compile_focal_loss_gradient(const Node& node, Compiler&) {
  check_sample_loss_gradient(node, "logits", "labels");
  return mask_loss_gradient<FocalLoss>(node);
}

}  // namespace hrsam::cuda

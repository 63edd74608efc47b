// The ops by name. cuda_ops.def is generated from the file names in native/cuda/.
#include <cstring>

#include "op.h"

namespace hrsam::cuda {

#define OP(name) Op* compile_##name(const Node& node, Compiler& compiler);
#include "cuda_ops.def"
#undef OP

CompileFunction find_op(const char* name) {
#define OP(op) \
  if (std::strcmp(name, #op) == 0) return compile_##op;
#include "cuda_ops.def"
#undef OP
  return nullptr;
}

}  // namespace hrsam::cuda

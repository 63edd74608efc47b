// The ops of one instruction set, by name. ops.def is generated from the file names in native/cpu/.
#include "registry.h"

#include <cstring>

namespace hrsam::cpu::HRSAM_ISA {

#define OP(name) Op* compile_##name(const Node& node, Compiler& compiler);
#include "ops.def"
#undef OP

CompileFunction find_op(const char* name) {
#define OP(op) \
  if (std::strcmp(name, #op) == 0) return compile_##op;
#include "ops.def"
#undef OP
  return nullptr;
}

}  // namespace hrsam::cpu::HRSAM_ISA

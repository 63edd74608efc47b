#include <cstdlib>
#include <cstring>

#include "../../plan/failure.h"
#include "registry.h"

namespace hrsam::cpu {

using plan::fail;

#define ISA(name)                             \
  namespace name {                            \
  CompileFunction find_op(const char* op);    \
  double peak_gflops(Pool& pool, DType type); \
  }
#include "isas.def"
#undef ISA

namespace {

bool supports_scalar() { return true; }
#if defined(__x86_64__)
bool supports_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}
bool supports_avx512() {
  return supports_avx2() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq");
}
bool supports_avx512bf16() { return supports_avx512() && __builtin_cpu_supports("avx512bf16"); }
#elif defined(__aarch64__)
bool supports_neon() { return true; }
#endif

const Isa kIsas[] = {
#define ISA(name) {#name, supports_##name, name::find_op, name::peak_gflops},
#include "isas.def"
#undef ISA
};

}  // namespace

const Isa* isas(int* count) {
  *count = static_cast<int>(sizeof(kIsas) / sizeof(kIsas[0]));
  return kIsas;
}

const Isa& active_isa() {
  const char* wanted = std::getenv("HRSAM_CPU_ISA");
  const bool any = wanted == nullptr || *wanted == 0;
  for (const Isa& isa : kIsas) {
    if (any ? isa.supported() : std::strcmp(wanted, isa.name) == 0) {
      if (!isa.supported())
        fail("ERR_DEVICE", "HRSAM_CPU_ISA=%s: this processor does not have that instruction set",
             wanted);
      return isa;
    }
  }
  fail("ERR_DEVICE", "HRSAM_CPU_ISA=%s: unknown instruction set", wanted);
}

}  // namespace hrsam::cpu

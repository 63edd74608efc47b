#include <cstdlib>
#include <cstring>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

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
// The system saves the tiles' registers only for processes that ask.
bool supports_amx() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  static const bool granted = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned kTilesAndBf16 = 1u << 24 | 1u << 22;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kTilesAndBf16) == kTilesAndBf16 &&
           syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  }();
  return supports_avx512bf16() && granted;
#else
  return false;
#endif
}
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
  std::string known;
  for (const Isa& isa : kIsas) known += std::string(" ") + isa.name;
  fail("ERR_DEVICE", "HRSAM_CPU_ISA=%s: unknown instruction set; expected one of%s", wanted,
       known.c_str());
}

}  // namespace hrsam::cpu

#include "fibre.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves the registers that a call must keep, changes stacks, restores. A tenth of swapcontext's
// time, which asks the kernel for its signal mask.
extern "C" void gpu_on_cpu_change_stack(void** from, void* to);
asm(R"(
.text
.globl gpu_on_cpu_change_stack
.hidden gpu_on_cpu_change_stack
.type gpu_on_cpu_change_stack, @function
gpu_on_cpu_change_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size gpu_on_cpu_change_stack, .-gpu_on_cpu_change_stack
)");
#endif

namespace gpu_on_cpu {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;  // frames are larger
#else
constexpr size_t kStackBytes = 64 << 10;
#endif

thread_local Fibre* left = nullptr;
thread_local Fibre* reached = nullptr;

}  // namespace

void Fibre::begin() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &left->bottom_, &left->bytes_);
#endif
  reached->entry_();
}

void Fibre::prepare(void (*entry)()) {
  if (!stack_) stack_ = std::make_unique_for_overwrite<unsigned char[]>(kStackBytes);
  bottom_ = stack_.get();
  bytes_ = kStackBytes;
  entry_ = entry;
#if defined(__x86_64__)
  auto end = reinterpret_cast<uintptr_t>(stack_.get() + kStackBytes) & ~uintptr_t{15};
  auto* top = reinterpret_cast<void**>(end);
  *--top = nullptr;  // where a return address would be, and what aligns the entry's frame
  *--top = reinterpret_cast<void*>(&Fibre::begin);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  top_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fibre::begin, 0);
#endif
}

void Fibre::change(Fibre& from, Fibre& to) {
  left = &from;
  reached = &to;
#if defined(__SANITIZE_ADDRESS__)
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, to.bottom_, to.bytes_);
#endif
#if defined(__x86_64__)
  gpu_on_cpu_change_stack(&from.top_, to.top_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

}  // namespace gpu_on_cpu

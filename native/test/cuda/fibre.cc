#include "fibre.h"

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

void Fibre::prepare(void (*entry)()) {
  if (!stack_) stack_ = std::make_unique<unsigned char[]>(kStackBytes);
#if defined(__x86_64__)
  auto end = reinterpret_cast<uintptr_t>(stack_.get() + kStackBytes) & ~uintptr_t{15};
  auto* top = reinterpret_cast<void**>(end);
  *--top = nullptr;  // where a return address would be, and what aligns the entry's frame
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  top_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#endif
}

void Fibre::change(Fibre& from, Fibre& to) {
#if defined(__x86_64__)
  gpu_on_cpu_change_stack(&from.top_, to.top_);
#else
  swapcontext(&from.context_, &to.context_);
#endif
}

}  // namespace gpu_on_cpu

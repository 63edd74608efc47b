// The instructions that are more than one lane's arithmetic: lanes.cc, hopper.cc.
#pragma once

#include "machine.h"

namespace ptx {

inline void nothing(Warp&, const Instruction&, uint32_t) {}

void shuffle(Warp& warp, const Instruction& i, uint32_t lanes);
void load_matrices(Warp& warp, const Instruction& i, uint32_t lanes);
void multiply(Warp& warp, const Instruction& i, uint32_t lanes);
void meet(Warp& warp, const Instruction& i, uint32_t lanes);
void wait_for_earlier_kernels(Warp& warp, const Instruction& i, uint32_t lanes);
void copy_later(Warp& warp, const Instruction& i, uint32_t lanes);
void commit_copies(Warp& warp, const Instruction& i, uint32_t lanes);
void wait_for_copies(Warp& warp, const Instruction& i, uint32_t lanes);

// Hopper's.
void set_registers(Warp& warp, const Instruction& i, uint32_t lanes);
void barrier_init(Warp& warp, const Instruction& i, uint32_t lanes);
void barrier_show(Warp& warp, const Instruction& i, uint32_t lanes);
void barrier_arrive(Warp& warp, const Instruction& i, uint32_t lanes);
void barrier_try(Warp& warp, const Instruction& i, uint32_t lanes);
void map_address(Warp& warp, const Instruction& i, uint32_t lanes);
void copy_box(Warp& warp, const Instruction& i, uint32_t lanes);
void show_to_products(Warp& warp, const Instruction& i, uint32_t lanes);
void cluster_arrive(Warp& warp, const Instruction& i, uint32_t lanes);
void products_fence(Warp& warp, const Instruction& i, uint32_t lanes);
void products_commit(Warp& warp, const Instruction& i, uint32_t lanes);
void products_wait(Warp& warp, const Instruction& i, uint32_t lanes);
void multiply_group(Warp& warp, const Instruction& i, uint32_t lanes);
void finish_copy(Cluster& cluster, const BoxCopy& copy);

}  // namespace ptx

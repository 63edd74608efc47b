// What stands for Hopper's own instructions: barriers that count bytes, bulk tensor copies,
// products of warpgroups, and the two views of shared memory.
//
// All that is asynchronous happens as late as it may: a copy when no thread can go on, the newest
// or the oldest first in turn, and a product after that, reading its operands from shared memory
// then. A stage that is given back before it is read, or read before it has arrived, gives wrong
// numbers. Products see what bulk copies wrote, and of what threads wrote only what these showed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gpu_on_cpu {

// Whether the GPU is one, else it is the least that any backend supports: HRSAM_TEST_GPU=hopper.
bool is_hopper();
// That a block may have.
size_t most_shared_bytes();

// The dynamic shared memory begins at some multiple of 128, not of 1024.
uint32_t shared_address(const void* pointer);

void make_barrier(const void* barrier, int arrivals);
void arrive(const void* barrier, int bytes);
void wait_for_phase(const void* barrier, uint32_t parity);
// At the barrier in the same place of a block of the cluster.
void arrive_at(const void* barrier, uint32_t block);
void cluster_barrier();

// The first bytes of a TensorMap.
struct Matrices3d {
  const void* data;
  int64_t sizes[3];    // columns of 2 bytes, rows, items
  int64_t strides[2];  // of rows and items, in bytes
  int32_t box[2];      // columns, rows
};
// `blocks`: to the same place of each of them, a bit each, and their barriers; 0: its own alone.
void copy_box(void* shared, const void* map, int column, int row, int item, const void* barrier,
              uint32_t blocks = 0);
void show_to_products();

// The nearest number of e4m3, ties to even; beyond ±448 that; NaN is 0x7f.
unsigned char to_e4m3(float x);

struct GroupProduct {
  uint64_t a, b;           // descriptors
  const uint32_t* a_here;  // where a lies in registers
  float* sums;
  int columns;
  bool b_by_rows;  // b is (16, columns) rather than (columns, 16)
  bool add;
  bool e4m3 = false;  // rather than bf16, and twice as deep
};
void begin_products();
void multiply_group(const GroupProduct& product);
void commit_products();
void wait_for_products(int newest_that_may_be_under_way);

}  // namespace gpu_on_cpu

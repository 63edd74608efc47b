// That the CPU's stand-in for Hopper's instructions finds what it is there to find: a small product
// with a ring, bulk copies and warpgroups is right, and with any one thing wrong it is not.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cuda/core/ptx_hopper.h"
#include "check.h"
#include "tensor.h"

using namespace hrsam::cuda;
using hrsam::test::from_bf16;
using hrsam::test::to_bf16;

namespace {

// What the kernel gets wrong.
enum class Fault {
  none,
  no_wait_for_bytes,
  no_wait_for_room,
  room_before_it_is_read,
  too_few_bytes_expected,
  no_begin,
  no_wait_for_sums,
  wrong_step,
  wrong_stride,
  stage_not_aligned,
  no_swizzle,
  not_shown,
  half_a_group,
  not_together_at_first,
  not_together_at_last,
  room_in_its_own_block_alone,
  share_to_itself_alone,
};

// Who brings the operands: threads that write them, one thread's copies, or two blocks' copies,
// each of half of b to both.
enum class Way { writes, copies, shares };

constexpr int kRows = 64, kColumns = 128, kDepth = 64, kSteps = 5, kLength = kSteps * kDepth;
constexpr int kStages = 2, kStageBytes = (kRows + kColumns) * 128;
constexpr int kThreads = 256;

struct Operands {
  const uint16_t *a, *b;  // (64, kLength) and (128, kLength)
  TensorMap map_a, map_b;
  float* c;  // of each block
};

uint64_t operand_of(const unsigned char* at, Fault fault) {
  const uint64_t made = operand_at(at);
  return fault == Fault::wrong_stride ? made + (uint64_t{1} << 32) : made;
}

// One thread of the first warpgroup copies, or all of them write; the second multiplies.
template <Way kWay>
void bring_or_multiply(const Operands& call, Fault fault, unsigned char* ring, uint64_t* full,
                       uint64_t* empty) {
  constexpr bool kCopies = kWay != Way::writes, kShares = kWay == Way::shares;
  const auto parity = [](int step) { return static_cast<uint32_t>(step / kStages & 1); };
  if (threadIdx.x < 128) {
    if (kCopies && threadIdx.x != 0) return;
    for (int step = 0; step < kSteps; ++step) {
      const int stage = step % kStages;
      unsigned char* to = ring + stage * kStageBytes;
      if (fault != Fault::no_wait_for_room) wait_for_phase(empty + stage, parity(step) ^ 1);
      if (kCopies) {
        arrive_expecting(full + stage,
                         fault == Fault::too_few_bytes_expected ? kStageBytes / 2 : kStageBytes);
        copy_box(to, &call.map_a, step * kDepth, 0, 0, full + stage);
        const int share = kShares ? static_cast<int>(blockIdx.x) * kColumns / 2 : 0;
        copy_box_to(kShares && fault != Fault::share_to_itself_alone ? 3 : 1 << blockIdx.x,
                    to + (kRows + share) * 128, &call.map_b, step * kDepth, share, 0, full + stage);
        continue;
      }
      for (int i = static_cast<int>(threadIdx.x); i < (kRows + kColumns) * 8; i += 128) {
        const int row = i / 8, piece = i % 8;
        const uint16_t* from =
            (row < kRows ? call.a + row * kLength : call.b + (row - kRows) * kLength) +
            step * kDepth + piece * 8;
        const int place = fault == Fault::no_swizzle ? piece : piece ^ (row & 7);
        std::memcpy(to + row * 128 + place * 16, from, 16);
      }
      if (fault != Fault::not_shown) show_to_products();
      arrive(full + stage);
    }
    return;
  }
  const int thread = static_cast<int>(threadIdx.x) - 128, lane = thread % 32;
  float sums[64] = {};
  for (int step = 0; step < kSteps; ++step) {
    const int stage = step % kStages;
    if (fault != Fault::no_wait_for_bytes) wait_for_phase(full + stage, parity(step));
    const unsigned char* from = ring + stage * kStageBytes;
    const uint64_t a = operand_of(from, fault), b = operand_of(from + kRows * 128, fault);
    if (fault != Fault::no_begin) begin_products();
    for (int k = 0; k < kDepth / 16; ++k) {
      const uint64_t at = k * (fault == Fault::wrong_step ? 1 : 2);
      if (fault == Fault::half_a_group && thread >= 96 && k == 3) continue;
      multiply_group(sums, a + at, b + at, step > 0 || k > 0);
    }
    commit_products();
    const auto give_back = [&] {
      if (lane == 0 && (!kShares || fault == Fault::room_in_its_own_block_alone))
        arrive(empty + stage);
      else if (lane < 2 && kShares)
        arrive_at(empty + stage, static_cast<uint32_t>(lane));
    };
    if (fault == Fault::room_before_it_is_read) give_back();
    if (fault != Fault::no_wait_for_sums || step + 1 < kSteps) wait_for_products<0>();
    if (fault != Fault::room_before_it_is_read) give_back();
  }
  settle(sums);
  for (int i = 0; i < 64; ++i) {
    const int row = thread / 32 * 16 + i / 2 % 2 * 8 + lane / 4;
    call.c[(static_cast<int>(blockIdx.x) * kRows + row) * kColumns + i / 4 * 8 + lane % 4 * 2 +
           i % 2] = sums[i];
  }
}

template <Way kWay>
void product_kernel(const Operands& call, Fault fault) {
  constexpr bool kCopies = kWay != Way::writes, kShares = kWay == Way::shares;
  auto* memory = static_cast<unsigned char*>(gpu_on_cpu::shared_memory());
  unsigned char* ring = memory + (0u - shared_address(memory)) % kSwizzleBytes;
  if (fault == Fault::stage_not_aligned) ring += 128;
  auto* full = reinterpret_cast<uint64_t*>(ring + kStages * kStageBytes);
  uint64_t* empty = full + kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      make_barrier(full + i, kCopies ? 1 : 128);
      make_barrier(empty + i, kShares && fault != Fault::room_in_its_own_block_alone ? 2 * 4 : 4);
    }
    publish_barriers();
  }
  __syncthreads();
  if (kShares && fault != Fault::not_together_at_first) begin_cluster();
  bring_or_multiply<kWay>(call, fault, ring, full, empty);
  if (kShares && fault != Fault::not_together_at_last) cluster_barrier();
}

std::vector<uint16_t> numbers(int count, unsigned seed) {
  std::vector<uint16_t> made;
  for (int i = 0; i < count; ++i) {
    seed = seed * 1664525 + 1013904223;
    made.push_back(to_bf16(static_cast<float>(seed >> 24) / 64 - 2));
  }
  return made;
}

TensorMap map_of(const uint16_t* data, int rows, int box_rows) {
  const gpu_on_cpu::Matrices3d made{
      data, {kLength, rows, 1}, {kLength * 2, 1024}, {kBoxColumns, box_rows}};
  TensorMap map{};
  std::memcpy(map.bytes, &made, sizeof(made));
  return map;
}

template <Way kWay>
bool finds(Fault fault) {
  constexpr int kBlocks = kWay == Way::shares ? 2 : 1;
  const std::vector<uint16_t> a = numbers(kRows * kLength, 1), b = numbers(kColumns * kLength, 2);
  std::vector<float> c(kBlocks * kRows * kColumns);
  std::vector<double> expected;
  for (int i = 0; i < kRows * kColumns; ++i) {
    double sum = 0;
    for (int k = 0; k < kLength; ++k)
      sum += static_cast<double>(from_bf16(a[static_cast<size_t>(i / kColumns * kLength + k)])) *
             static_cast<double>(from_bf16(b[static_cast<size_t>(i % kColumns * kLength + k)]));
    expected.push_back(sum);
  }
  if (kBlocks == 2) expected.insert(expected.end(), expected.begin(), expected.end());
  const Operands call{a.data(), b.data(), map_of(a.data(), kRows, kRows),
                      map_of(b.data(), kColumns, kColumns / kBlocks), c.data()};
  try {
    gpu_on_cpu::run_grid(
        dim3(kBlocks), dim3(kThreads), 2 * kSwizzleBytes + kStages * kStageBytes,
        [&] { product_kernel<kWay>(call, fault); }, kBlocks);
  } catch (const std::runtime_error&) {
    return true;
  }
  return !(hrsam::test::relative_l2(c, expected) <= 1e-6);  // NaN, too
}

std::string error_of(void (*kernel)()) {
  try {
    gpu_on_cpu::run_grid(dim3(1), dim3(128), 4096, kernel);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool says(const std::string& message, const char* part) {
  return message.find(part) != std::string::npos;
}

uint64_t* barrier_at(int offset) {
  return reinterpret_cast<uint64_t*>(static_cast<char*>(gpu_on_cpu::shared_memory()) + offset);
}

}  // namespace

TEST(a_right_product_is_right) {
  CHECK(!finds<Way::copies>(Fault::none));
  CHECK(!finds<Way::writes>(Fault::none));
  CHECK(!finds<Way::shares>(Fault::none));
}

TEST(each_fault_is_found_where_copies_bring_the_operands) {
  for (const Fault fault :
       {Fault::no_wait_for_bytes, Fault::no_wait_for_room, Fault::room_before_it_is_read,
        Fault::too_few_bytes_expected, Fault::no_begin, Fault::no_wait_for_sums, Fault::wrong_step,
        Fault::wrong_stride, Fault::stage_not_aligned, Fault::half_a_group})
    CHECK_EQ(hrsam::test::text(static_cast<int>(fault), ' ', finds<Way::copies>(fault)),
             hrsam::test::text(static_cast<int>(fault), " 1"));
}

TEST(each_fault_is_found_where_threads_write_the_operands) {
  for (const Fault fault :
       {Fault::no_wait_for_bytes, Fault::no_wait_for_room, Fault::room_before_it_is_read,
        Fault::no_begin, Fault::no_wait_for_sums, Fault::wrong_step, Fault::wrong_stride,
        Fault::stage_not_aligned, Fault::no_swizzle, Fault::not_shown, Fault::half_a_group})
    CHECK_EQ(hrsam::test::text(static_cast<int>(fault), ' ', finds<Way::writes>(fault)),
             hrsam::test::text(static_cast<int>(fault), " 1"));
}

TEST(each_fault_is_found_where_two_blocks_share) {
  for (const Fault fault :
       {Fault::no_wait_for_bytes, Fault::no_wait_for_room, Fault::room_before_it_is_read,
        Fault::too_few_bytes_expected, Fault::no_wait_for_sums, Fault::not_together_at_first,
        Fault::not_together_at_last, Fault::room_in_its_own_block_alone,
        Fault::share_to_itself_alone})
    CHECK_EQ(hrsam::test::text(static_cast<int>(fault), ' ', finds<Way::shares>(fault)),
             hrsam::test::text(static_cast<int>(fault), " 1"));
}

TEST(zeros_come_from_outside_a_matrix) {
  static const std::vector<uint16_t> data(10 * 24, to_bf16(1));
  static TensorMap map;
  const gpu_on_cpu::Matrices3d made{data.data(), {20, 10, 1}, {48, 1024}, {kBoxColumns, 8}};
  std::memcpy(map.bytes, &made, sizeof(made));
  static int wrong;
  wrong = 0;
  CHECK_EQ(error_of([] {
             auto* memory = static_cast<unsigned char*>(gpu_on_cpu::shared_memory());
             unsigned char* box = memory + (0u - shared_address(memory)) % kSwizzleBytes;
             uint64_t* barrier = reinterpret_cast<uint64_t*>(box + kSwizzleBytes);
             if (threadIdx.x == 0) {
               make_barrier(barrier, 1);
               publish_barriers();
               arrive_expecting(barrier, 8 * 128);
               copy_box(box, &map, 0, 5, 0, barrier);
             }
             __syncthreads();
             wait_for_phase(barrier, 0);
             for (int i = static_cast<int>(threadIdx.x); i < 8 * 64; i += 128) {
               const int row = i / 64, column = i % 64;
               const uint16_t number = reinterpret_cast<const uint16_t*>(
                   box + row * 128 + ((column / 8) ^ row) * 16)[column % 8];
               wrong += number != (row < 5 && column < 20 ? to_bf16(1) : 0);
             }
           }),
           "");
  CHECK_EQ(wrong, 0);
}

TEST(barriers_that_are_misused_are_errors) {
  CHECK(says(error_of([] { wait_for_phase(barrier_at(0), 0); }), "never made"));
  CHECK(says(error_of([] {
               if (threadIdx.x == 0) make_barrier(barrier_at(0), 1);
               __syncthreads();
               wait_for_phase(barrier_at(0), 0);
             }),
             "what never comes"));
  CHECK(says(error_of([] {
               if (threadIdx.x == 0) make_barrier(barrier_at(0), 1);
               __syncthreads();
               commit_products();
               begin_products();
               float sums[64];
               multiply_group(sums, operand_at(barrier_at(640)), operand_at(barrier_at(640)),
                              false);
             }),
             "ends before its products"));
}

int main() {
  setenv("HRSAM_TEST_GPU", "hopper", 1);
  for (const hrsam::test::Test& test : hrsam::test::tests()) test.body();
  std::cout << hrsam::test::tests().size() << " tests, " << hrsam::test::failures()
            << " failed checks" << std::endl;
  return hrsam::test::failures() == 0 ? 0 : 1;
}

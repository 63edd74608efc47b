// That the CPU's stand-in for a GPU finds what it is there to find: kernels that are right pass,
// and the same kernels without a barrier, without waiting for a copy, or with lanes missing do not.
#include "cuda/gpu_on_cpu.h"

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"

namespace {

using hrsam::test::text;

constexpr unsigned kThreads = 128;

// Reverses each block's numbers, again and again, through shared memory.
struct Reverse {
  float* numbers;
  int rounds;
  bool barrier_before_reading, barrier_before_writing;
  void operator()() const {
    auto* shared = static_cast<float*>(gpu_on_cpu::shared_memory());
    float own = numbers[blockIdx.x * kThreads + threadIdx.x];
    for (int i = 0; i < rounds; ++i) {
      if (barrier_before_writing) __syncthreads();
      shared[threadIdx.x] = own;
      if (barrier_before_reading) __syncthreads();
      own = shared[kThreads - 1 - threadIdx.x];
    }
    numbers[blockIdx.x * kThreads + threadIdx.x] = own;
  }
};

bool reverses(bool before_reading, bool before_writing) {
  constexpr unsigned kBlocks = 2;
  std::vector<float> numbers(kBlocks * kThreads);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  gpu_on_cpu::run_grid(dim3(kBlocks), dim3(kThreads), sizeof(float) * kThreads,
                       Reverse{numbers.data(), 3, before_reading, before_writing});
  for (size_t i = 0; i < numbers.size(); ++i) {
    const size_t block = i / kThreads;
    if (numbers[i] != static_cast<float>(block * kThreads + kThreads - 1 - i % kThreads))
      return false;
  }
  return true;
}

std::string error_of(unsigned threads, void (*kernel)()) {
  try {
    gpu_on_cpu::run_grid(dim3(1), dim3(threads), 64, kernel);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool says(const std::string& message, const char* part) {
  return message.find(part) != std::string::npos;
}

}  // namespace

TEST(a_right_kernel_is_right) { CHECK(reverses(true, true)); }
TEST(a_missing_barrier_before_reading_is_found) { CHECK(!reverses(false, true)); }
TEST(a_missing_barrier_before_writing_is_found) { CHECK(!reverses(true, false)); }

TEST(shared_memory_begins_as_nan) {
  static bool all_nan;
  all_nan = true;
  CHECK_EQ(error_of(32,
                    [] {
                      const float* shared = static_cast<float*>(gpu_on_cpu::shared_memory());
                      if (!std::isnan(shared[threadIdx.x % 16])) all_nan = false;
                    }),
           "");
  CHECK(all_nan);
}

TEST(copies_arrive_when_they_are_waited_for) {
  static unsigned char source[32 * 16];
  for (int i = 0; i < 32 * 16; ++i) source[i] = static_cast<unsigned char>(i % 251);
  static bool before, after;
  before = after = true;
  const auto kernel = [] {
    auto* own = static_cast<unsigned char*>(gpu_on_cpu::shared_memory()) + threadIdx.x * 16;
    gpu_on_cpu::copy_later(own, source + threadIdx.x * 16, 16, 16);
    gpu_on_cpu::commit_copies();
    before = before && std::memcmp(own, source + threadIdx.x * 16, 16) == 0;
    gpu_on_cpu::wait_for_copies(0);
    after = after && std::memcmp(own, source + threadIdx.x * 16, 16) == 0;
  };
  gpu_on_cpu::run_grid(dim3(1), dim3(32), 32 * 16, kernel);
  CHECK(!before);
  CHECK(after);
}

TEST(lanes_exchange_their_numbers) {
  static int wrong;
  wrong = 0;
  CHECK_EQ(error_of(64,
                    [] {
                      const int lane = static_cast<int>(threadIdx.x % 32);
                      wrong += __shfl_xor_sync(0xffffffffu, lane, 5) != (lane ^ 5);
                      wrong += __shfl_sync(0xffffffffu, lane * 3, (lane + 1) % 32) !=
                               (lane + 1) % 32 * 3;
                    }),
           "");
  CHECK_EQ(wrong, 0);
}

TEST(lanes_that_are_missing_are_an_error) {
  CHECK(says(error_of(32,
                      [] {
                        if (threadIdx.x < 31) __shfl_xor_sync(0xffffffffu, 1, 1);
                      }),
             "not all lanes"));
  CHECK(says(error_of(32,
                      [] {
                        if (threadIdx.x < 16)
                          __shfl_xor_sync(0xffffffffu, 1, 1);
                        else
                          __syncwarp();
                      }),
             "lanes of one warp in"));
}

TEST(a_barrier_that_some_threads_never_reach_is_an_error) {
  CHECK(says(error_of(64,
                      [] {
                        if (threadIdx.x < 32) __syncthreads();
                      }),
             "barrier is not reached by all"));
}

TEST(blocks_that_no_gpu_takes) {
  for (const unsigned threads : {0u, 31u, 33u, 1056u})
    CHECK(says(error_of(threads, [] {}), text("a block of ", threads).c_str()));
}

int main() {
  for (const hrsam::test::Test& test : hrsam::test::tests()) test.body();
  std::cout << hrsam::test::tests().size() << " tests, " << hrsam::test::failures()
            << " failed checks" << std::endl;
  return hrsam::test::failures() == 0 ? 0 : 1;
}

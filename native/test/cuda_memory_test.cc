// A GPU's memory where it is short: the budget of HRSAM_CUDA_MEMORY_MIB, and what goes on within
// it. CUDA alone.
#include <cstring>
#include <memory>

#include "harness.h"

using namespace hrsam::test;

namespace {

constexpr uint64_t kMebibyte = 1 << 20;
constexpr int64_t kNumbers = kMebibyte / sizeof(float);

// In place of the tests' device, one that may take so much.
class Budget {
 public:
  explicit Budget(const char* mebibytes) {
    setenv("HRSAM_CUDA_MEMORY_MIB", mebibytes, 1);
    hrsam_error error{};
    hrsam_device* opened = nullptr;
    const bool open = backend().device_open(0, &opened, &error) == 0;
    unsetenv("HRSAM_CUDA_MEMORY_MIB");
    if (!open) throw BackendError(error);
    std::swap(device, opened);
    before_ = opened;
  }
  ~Budget() {
    std::swap(device, before_);
    backend().device_close(before_);
  }
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

 private:
  hrsam_device* before_ = nullptr;
};

hrsam_memory_info memory() {
  hrsam_memory_info info{};
  backend().device_memory(device, &info);
  return info;
}

// As many buffers of a MiB as there is room for.
std::deque<Buffer> fill() {
  std::deque<Buffer> made;
  try {
    while (made.size() < 100) made.emplace_back(kMebibyte);
  } catch (const BackendError& error) {
    CHECK_EQ(error.code, "ERR_OUT_OF_MEMORY");
    CHECK(std::string(error.what()).find("HRSAM_CUDA_MEMORY_MIB") != std::string::npos);
  }
  return made;
}

void write(const Buffer& buffer, float number) {
  const std::vector<float> numbers(kNumbers, number);
  BACKEND(buffer_write, buffer.handle(), 0, numbers.data(), kMebibyte);
}

std::vector<float> read(const Buffer& buffer) {
  std::vector<float> numbers(kNumbers);
  BACKEND(buffer_read, buffer.handle(), 0, numbers.data(), kMebibyte);
  return numbers;
}

}  // namespace

TEST(a_budget_holds_to_the_byte_and_what_is_given_back_can_be_had_again) {
  const Budget budget("8");
  for (int i = 0; i < 2; ++i) {
    const auto all = fill();
    CHECK_EQ(all.size(), 8u);
    CHECK_EQ(memory().buffer_bytes, 8 * kMebibyte);
    CHECK_EQ(memory().cached_bytes, 0u);
    write(all.back(), 3);
    CHECK_MAX(read(all.back()), std::vector<float>(kNumbers, 3), 0);
  }
  CHECK_EQ(memory().buffer_bytes, 0u);
  CHECK_EQ(memory().peak_bytes, 8 * kMebibyte);
}

// A byte takes 256 of the GPU.
TEST(a_budget_counts_what_blocks_take) {
  const Budget budget("1");
  std::deque<Buffer> small;
  std::string message;
  try {
    while (small.size() < 10000) small.emplace_back(1);
  } catch (const BackendError& error) {
    message = error.what();
  }
  CHECK_EQ(small.size(), kMebibyte / 256);
  CHECK(message.find("1 MiB needed, 0 MiB of") != std::string::npos);
  CHECK_EQ(memory().buffer_bytes, kMebibyte / 256);
  small.clear();
  CHECK_EQ(memory().cached_bytes, kMebibyte);
  CHECK_EQ(memory().peak_bytes, kMebibyte);
}

TEST(blocks_that_are_kept_make_room_for_those_of_another_size) {
  const Budget budget("8");
  { const Buffer large(6 * kMebibyte); }
  CHECK_EQ(memory().cached_bytes, 6 * kMebibyte);
  const Buffer other(5 * kMebibyte);
  CHECK_EQ(memory().cached_bytes, 0u);
  CHECK_EQ(memory().buffer_bytes, 5 * kMebibyte);
}

TEST(a_budget_that_is_no_number_is_refused) {
  for (const char* wrong : {"", "0", "x", "8 GB", "99999999999999999999"}) {
    std::string code;
    try {
      const Budget budget(wrong);
    } catch (const BackendError& error) {
      code = error.code;
    }
    CHECK_EQ(code, "ERR_ARGUMENT");
  }
}

// Where outputs lie elsewhere each time, runs work on a copy; without room for it, on the buffers
// themselves, and with room again, on a copy again.
TEST(runs_that_copy_go_on_without_room_for_it) {
  const Budget budget("24");
  Plan plan;
  plan.input_count = plan.output_count = 1;
  const int x = plan.value(HRSAM_F32, {kNumbers}, HRSAM_INPUT, 0);
  const int y = plan.value(HRSAM_F32, {kNumbers}, HRSAM_OUTPUT, 0);
  plan.node("add", {{"a", x}, {"b", x}}, {}, y);
  const Program program(plan.view());
  const Buffer input(kMebibyte);
  std::deque<Buffer> outputs;
  for (int i = 0; i < 8; ++i) outputs.emplace_back(kMebibyte);
  float number = 0;
  const auto run_all = [&] {
    for (const Buffer& output : outputs) {
      write(input, ++number);
      hrsam_buffer* const in = input.handle();
      hrsam_buffer* const out = output.handle();
      program.run(&in, &out);
      CHECK_MAX(read(output), std::vector<float>(kNumbers, 2 * number), 0);
    }
  };
  run_all();
  CHECK_EQ(memory().cached_bytes, 2 * kMebibyte);  // the copies' place
  {
    const auto rest = fill();
    CHECK_EQ(memory().cached_bytes, 0u);
    run_all();
    CHECK_EQ(memory().cached_bytes, 0u);
  }
  run_all();
  CHECK(memory().cached_bytes >= 2 * kMebibyte);
}

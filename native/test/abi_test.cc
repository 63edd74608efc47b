// Whatever is wrong with a plan, it ends in an error: nothing crashes, nothing leaks. Run under
// AddressSanitizer.
#include "harness.h"

using namespace hrsam::test;

namespace {

std::string program_error(const Plan& plan) {
  hrsam_program* program = nullptr;
  hrsam_error error{};
  const hrsam_plan view = plan.view();
  if (backend().program_create(device, &view, &program, &error) == 0) {
    backend().program_destroy(program);
    return "";
  }
  CHECK(program == nullptr);
  CHECK(error.message[0] != 0);
  return error.code;
}

// y = a + b, all of them right; each test breaks one thing.
struct Sum {
  Sum() : constant(16) {
    plan.buffers = {constant.handle()};
    plan.input_count = plan.output_count = 1;
    plan.value(HRSAM_F32, {4}, HRSAM_INPUT, 0);
    plan.value(HRSAM_F32, {4}, HRSAM_CONSTANT, 0);
    plan.value(HRSAM_F32, {4}, HRSAM_OUTPUT, 0);
    plan.node("add", {{"a", 0}, {"b", 1}}, {}, 2);
  }
  Buffer constant;
  Plan plan;
};

}  // namespace

TEST(a_right_plan_compiles) { CHECK_EQ(program_error(Sum().plan), ""); }

TEST(unknown_op) {
  CHECK_EQ(Call("no_such_op").result({1}).error(), "ERR_INTERNAL");
  CHECK_EQ(Call("").result({1}).error(), "ERR_INTERNAL");
}

TEST(missing_operand_or_attribute) {
  const Tensor x = random_tensor({2, 3}, 1);
  CHECK_EQ(Call("add").input("a", x).result({2, 3}).error(), "ERR_INTERNAL");
  CHECK_EQ(Call("cast").result({2, 3}).error(), "ERR_INTERNAL");
  CHECK_EQ(Call("slice")
               .input("x", x)
               .attribute("axis", 0.0)
               .attribute("start", 0.0)
               .result({2, 3})
               .error(),
           "ERR_INTERNAL");
  CHECK_EQ(Call("concat").attribute("axis", 0.0).result({2, 3}).error(), "ERR_SHAPE");
}

TEST(attributes_of_the_wrong_kind) {
  const Tensor x = random_tensor({2, 3}, 1);
  for (const std::vector<double>& axis :
       {std::vector<double>{}, {0, 1}, {0.5}, {NAN}, {INFINITY}, {1e300}})
    CHECK_EQ(Call("concat").input("x0", x).attribute("axis", axis).result({2, 3}).error(),
             "ERR_INTERNAL");
  for (const double axis : {-1.0, 2.0, 1e15})
    CHECK_EQ(Call("concat").input("x0", x).attribute("axis", axis).result({2, 3}).error(),
             "ERR_SHAPE");
}

TEST(values_that_do_not_exist) {
  for (const int32_t wrong : {-1, 3, 1 << 30}) {
    Sum result;
    result.plan.nodes[0].result = wrong;
    CHECK_EQ(program_error(result.plan), "ERR_INTERNAL");
    Sum operand;
    operand.plan.node("add", {{"a", 0}, {"b", wrong}}, {}, 2);
    CHECK_EQ(program_error(operand.plan), "ERR_INTERNAL");
  }
}

TEST(values_that_are_nonsense) {
  const auto error = [](auto&& spoil) {
    Sum sum;
    spoil(sum.plan);
    return program_error(sum.plan);
  };
  CHECK_EQ(error([](Plan& p) { p.values[0].rank = -1; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].rank = 7; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].dims[0] = -4; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].dtype = 9; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].dtype = -1; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].storage = 5; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].slot = 1; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[2].slot = -1; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[1].slot = 1; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[1].offset = 4; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[1].offset = ~uint64_t{0} - 8; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[1].dims[0] = 5; }), "ERR_INTERNAL");
  CHECK_EQ(error([](Plan& p) { p.values[0].storage = HRSAM_ARENA; }), "ERR_INTERNAL");
}

TEST(results_that_must_not_be_written) {
  for (const hrsam_storage storage : {HRSAM_INPUT, HRSAM_CONSTANT}) {
    Sum sum;
    sum.plan.values[2].storage = storage;
    CHECK_EQ(program_error(sum.plan), "ERR_INTERNAL");
  }
}

TEST(folding_what_is_not_constant) {
  Sum sum;
  sum.plan.values[2].storage = HRSAM_FOLDED;
  CHECK_EQ(program_error(sum.plan), "ERR_INTERNAL");
}

TEST(reading_a_folded_value_that_nobody_computes) {
  Sum sum;
  sum.plan.values[1].storage = HRSAM_FOLDED;
  CHECK_EQ(program_error(sum.plan), "ERR_INTERNAL");
}

TEST(folded_values_are_computed_once) {
  const std::vector<float> numbers{1, 2, 3, 4};
  Buffer constant(16), input(16), output(16);
  BACKEND(buffer_write, constant.handle(), 0, numbers.data(), 16);
  BACKEND(buffer_write, input.handle(), 0, numbers.data(), 16);
  Plan plan;
  plan.buffers = {constant.handle()};
  plan.input_count = plan.output_count = 1;
  plan.arena_bytes = 64;
  const int c = plan.value(HRSAM_F32, {4}, HRSAM_CONSTANT, 0);
  const int folded = plan.value(HRSAM_F32, {4}, HRSAM_FOLDED, 0);
  const int x = plan.value(HRSAM_F32, {4}, HRSAM_INPUT, 0);
  const int sum = plan.value(HRSAM_F32, {4}, HRSAM_ARENA, 0, 16);
  const int y = plan.value(HRSAM_F32, {4}, HRSAM_OUTPUT, 0);
  plan.node("add", {{"a", c}, {"b", c}}, {}, folded);
  plan.node("add", {{"a", x}, {"b", folded}}, {}, sum);
  plan.node("add", {{"a", sum}, {"b", x}}, {}, y);
  hrsam_buffer* inputs[] = {input.handle()};
  hrsam_buffer* outputs[] = {output.handle()};
  execute(plan.view(), inputs, outputs, 2);
  std::vector<float> got(4);
  BACKEND(buffer_read, output.handle(), 0, got.data(), 16);
  CHECK_MAX(got, (std::vector<float>{4, 8, 12, 16}), 0);
}

// More often than recordings of its launches are kept.
TEST(a_run_finds_its_inputs_and_outputs_wherever_they_are) {
  const std::vector<float> added{1, 2, 3, 4};
  Sum sum;
  BACKEND(buffer_write, sum.constant.handle(), 0, added.data(), 16);
  const Program program(sum.plan.view());
  std::deque<Buffer> kept;
  const auto made = [&](const std::vector<float>& numbers) {
    const Buffer& buffer = kept.emplace_back(16);
    BACKEND(buffer_write, buffer.handle(), 0, numbers.data(), 16);
    return buffer.handle();
  };
  const auto held = [](hrsam_buffer* buffer) {
    std::vector<float> numbers(4);
    BACKEND(buffer_read, buffer, 0, numbers.data(), 16);
    return numbers;
  };
  for (int i = 0; i < 12; ++i) {
    const auto first = static_cast<float>(i);
    const std::vector<float> numbers{first, 0, -first, 7};
    const std::vector<float> expected{first + 1, 2, 3 - first, 11};
    hrsam_buffer* input = made(numbers);
    hrsam_buffer* output = made({-1, -1, -1, -1});
    program.run(&input, &output);
    CHECK_MAX(held(input), numbers, 0);
    CHECK_MAX(held(output), expected, 0);
    program.run(&input, &input);  // in place
    CHECK_MAX(held(input), expected, 0);
  }
}

TEST(what_was_folded_goes_with_a_plan_that_fails) {
  hrsam_memory_info before{}, after{};
  backend().device_memory(device, &before);
  Sum sum;
  const int folded = sum.plan.value(HRSAM_F32, {4}, HRSAM_FOLDED, 0);
  sum.plan.node("add", {{"a", 1}, {"b", 1}}, {}, folded);
  sum.plan.node("no_such_op", {{"a", folded}}, {}, 2);
  CHECK_EQ(program_error(sum.plan), "ERR_INTERNAL");
  backend().device_memory(device, &after);
  CHECK_EQ(after.packed_bytes, before.packed_bytes);
}

TEST(sizes_beyond_all_memory) {
  Buffer small(16);
  hrsam_buffer* buffer = nullptr;
  hrsam_error error{};
  for (const uint64_t bytes : {uint64_t{1} << 50, uint64_t{1} << 63, ~uint64_t{0}}) {
    CHECK(backend().buffer_create(device, bytes, &buffer, &error) != 0);
    CHECK_EQ(std::string(error.code), "ERR_OUT_OF_MEMORY");
  }
  {
    Sum sum;  // a size that overflows
    for (int i = 0; i < 3; ++i) {
      sum.plan.values[0].rank = 3;
      sum.plan.values[0].dims[i] = int64_t{1} << 40;
    }
    CHECK_EQ(program_error(sum.plan), "ERR_OUT_OF_MEMORY");
  }
  {
    Sum sum;  // one that would, were it not empty
    sum.plan.values[0].rank = 3;
    for (int i = 0; i < 3; ++i) sum.plan.values[0].dims[i] = i == 1 ? 0 : int64_t{1} << 40;
    CHECK_EQ(program_error(sum.plan), "ERR_OUT_OF_MEMORY");
  }
  {
    Plan plan;  // a folded value that does not fit
    plan.buffers = {small.handle()};
    plan.value(HRSAM_F32, {1}, HRSAM_CONSTANT, 0);
    plan.value(HRSAM_F32, {1, 1 << 25, 1 << 25, 2}, HRSAM_FOLDED, 0);
    plan.value(HRSAM_F32, {2, 1}, HRSAM_CONSTANT, 0);
    plan.node("position_encoding", {{"gaussian", 2}}, {{"size", {1 << 25, 1 << 25}}}, 1);
    CHECK_EQ(program_error(plan), "ERR_OUT_OF_MEMORY");
  }
  Sum sum;  // an arena that does not fit: the program compiles, running it fails
  sum.plan.arena_bytes = uint64_t{1} << 50;
  hrsam_buffer* inputs[] = {small.handle()};
  hrsam_buffer* outputs[] = {small.handle()};
  std::string code;
  try {
    execute(sum.plan.view(), inputs, outputs);
  } catch (const BackendError& failure) {
    code = failure.code;
  }
  CHECK_EQ(code, "ERR_OUT_OF_MEMORY");
}

TEST(arenas_of_programs_that_take_turns_are_kept) {
  if (std::string(backend().name) != "cpu") return;
  Buffer input(16), output(16);
  hrsam_buffer* inputs[] = {input.handle()};
  hrsam_buffer* outputs[] = {output.handle()};
  const auto cached_after = [&](uint64_t arena_bytes) {
    Sum sum;
    sum.plan.arena_bytes = arena_bytes;
    execute(sum.plan.view(), inputs, outputs);
    hrsam_memory_info info{};
    backend().device_memory(device, &info);
    return info.cached_bytes;
  };
  constexpr uint64_t mb = uint64_t{1} << 20;
  backend().device_trim(device);
  CHECK_EQ(cached_after(600 * mb), 600 * mb);
  CHECK_EQ(cached_after(90 * mb), 690 * mb);  // too far from the first to share it
  CHECK_EQ(cached_after(10 * mb), 700 * mb);
  for (const uint64_t size : {600, 90, 10, 500, 80}) CHECK_EQ(cached_after(size * mb), 700 * mb);
  CHECK_EQ(cached_after(700 * mb), 700 * mb);  // grown: the smaller ones go
  backend().device_trim(device);
  hrsam_memory_info info{};
  backend().device_memory(device, &info);
  CHECK_EQ(info.cached_bytes, uint64_t{0});
}

TEST(buffers_that_are_too_small) {
  Sum sum;
  Buffer large(16), small(12);
  for (const bool input : {true, false}) {
    hrsam_buffer* inputs[] = {(input ? small : large).handle()};
    hrsam_buffer* outputs[] = {(input ? large : small).handle()};
    std::string code;
    try {
      execute(sum.plan.view(), inputs, outputs);
    } catch (const BackendError& error) {
      code = error.code;
    }
    CHECK_EQ(code, "ERR_INTERNAL");
  }
}

TEST(reading_and_writing_past_the_end) {
  Buffer buffer(8);
  char bytes[16] = {};
  hrsam_error error{};
  CHECK_EQ(backend().buffer_write(buffer.handle(), 0, bytes, 8, &error), 0);
  CHECK_EQ(backend().buffer_write(buffer.handle(), 8, nullptr, 0, &error), 0);
  CHECK(backend().buffer_write(buffer.handle(), 1, bytes, 8, &error) != 0);
  CHECK(backend().buffer_write(buffer.handle(), ~uint64_t{0}, bytes, 2, &error) != 0);
  CHECK(backend().buffer_read(buffer.handle(), 9, bytes, 0, &error) != 0);
  CHECK(backend().buffer_read(buffer.handle(), 4, bytes, ~uint64_t{0}, &error) != 0);
}

TEST(devices_and_threads_that_do_not_exist) {
  hrsam_error error{};
  hrsam_device* other = nullptr;
  hrsam_device_info info{};
  CHECK(backend().device_open(backend().device_count(&error), &other, &error) != 0);
  CHECK_EQ(std::string(error.code), "ERR_DEVICE");
  CHECK(backend().device_info(-1, &info, &error) != 0);
  CHECK_EQ(backend().device_info(0, &info, &error), 0);
  CHECK(info.memory_bytes > 0 && info.name[0] != 0);
  CHECK_EQ(info.threads > 0, std::string(backend().name) == "cpu");
  for (const int threads : {0, -3, 1 << 20})
    CHECK(backend().device_set_threads(device, threads, &error) != 0);
}

TEST(destroying_in_any_order) {
  // Buffers of a run may go before the run; a program may go once its runs are gone; nothing may be
  // null's.
  hrsam_error error{};
  const std::vector<float> numbers{1, 2, 3, 4};
  auto* input = new Buffer(16);
  auto* output = new Buffer(16);
  BACKEND(buffer_write, input->handle(), 0, numbers.data(), 16);
  Sum sum;
  BACKEND(buffer_write, sum.constant.handle(), 0, numbers.data(), 16);
  hrsam_program* program = nullptr;
  const hrsam_plan view = sum.plan.view();
  BACKEND(program_create, device, &view, &program);
  hrsam_buffer* inputs[] = {input->handle()};
  hrsam_buffer* outputs[] = {output->handle()};
  hrsam_run *finished = nullptr, *abandoned = nullptr;
  BACKEND(run_create, program, inputs, outputs, &finished);
  BACKEND(run_create, program, inputs, outputs, &abandoned);
  int state = 1;
  while (state == 1) state = backend().run_step(finished, &error);
  CHECK_EQ(state, 0);
  CHECK_EQ(backend().run_step(finished, &error), 0);  // nothing left to do
  delete input;
  delete output;
  backend().run_destroy(abandoned);
  backend().run_destroy(finished);
  backend().program_destroy(program);
  backend().buffer_destroy(nullptr);
  backend().run_destroy(nullptr);
  backend().program_destroy(nullptr);
}

TEST(memory_is_accounted_for) {
  hrsam_memory_info before{}, with{}, after{};
  backend().device_memory(device, &before);
  {
    Buffer buffer(1 << 20);
    backend().device_memory(device, &with);
  }
  backend().device_memory(device, &after);
  CHECK_EQ(with.buffer_bytes, before.buffer_bytes + (1 << 20));
  CHECK_EQ(after.buffer_bytes, before.buffer_bytes);
  CHECK_LE(with.buffer_bytes, after.peak_bytes);
}

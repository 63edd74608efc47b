// That the GPU which interprets PTX computes what the manual says, and finds what it is there to
// find.
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "ptx/counts.h"
#include "ptx/run_kernel.h"

namespace {

using namespace ptx::test;
using ptx::Counts;

// One instruction's result in lane 0.
uint32_t word_of(const std::string& body) {
  std::vector<uint32_t> data(2);
  const std::string error = run(kernel(body + "\nst.global.u32 [%d0], %r9;"), data, {1});
  if (!error.empty()) hrsam::test::check(false, __FILE__, __LINE__, body + ": " + error);
  return data[0];
}
float float_of(const std::string& body) {
  return std::bit_cast<float>(word_of(body + "\nmov.b32 %r9, %f9;"));
}
uint64_t long_of(const std::string& body) {
  std::vector<uint64_t> data(1);
  const std::string error = run(kernel(body + "\nst.global.u64 [%d0], %d9;"), data, {1});
  if (!error.empty()) hrsam::test::check(false, __FILE__, __LINE__, body + ": " + error);
  return data[0];
}
bool predicate_of(const std::string& body) {
  return word_of(body + "\nselp.u32 %r9, 1, 0, %p1;") == 1;
}

// Of a number, as PTX writes it.
std::string f(float x) {
  char made[16];
  std::snprintf(made, sizeof(made), "0f%08X", std::bit_cast<uint32_t>(x));
  return made;
}

}  // namespace

TEST(integers) {
  CHECK_EQ(word_of("mov.u32 %r1, 7; add.s32 %r9, %r1, -9;"), static_cast<uint32_t>(-2));
  CHECK_EQ(word_of("mov.u32 %r1, -7; div.s32 %r9, %r1, 2;"), static_cast<uint32_t>(-3));
  CHECK_EQ(word_of("mov.u32 %r1, -7; div.u32 %r9, %r1, 2;"), 0x7ffffffcu);
  CHECK_EQ(word_of("mov.u32 %r1, -7; rem.s32 %r9, %r1, 4;"), static_cast<uint32_t>(-3));
  CHECK_EQ(word_of("mov.u32 %r1, -7; max.s32 %r9, %r1, 4;"), 4u);
  CHECK_EQ(word_of("mov.u32 %r1, -7; max.u32 %r9, %r1, 4;"), static_cast<uint32_t>(-7));
  CHECK_EQ(word_of("mov.u32 %r1, 0x80000000; mul.hi.u32 %r9, %r1, 6;"), 3u);
  CHECK_EQ(word_of("mov.u32 %r1, 0x80000000; mul.hi.s32 %r9, %r1, 6;"), static_cast<uint32_t>(-3));
  CHECK_EQ(word_of("mov.u32 %r1, 5; mad.lo.s32 %r9, %r1, -3, 7;"), static_cast<uint32_t>(-8));
  CHECK_EQ(long_of("mov.u32 %r1, -2; mul.wide.s32 %d9, %r1, 3;"), static_cast<uint64_t>(-6));
  CHECK_EQ(long_of("mov.u32 %r1, -2; mul.wide.u32 %d9, %r1, 3;"), uint64_t{0x2fffffffa});
  CHECK_EQ(long_of("mov.u64 %d1, -9; shr.s64 %d9, %d1, 1;"), static_cast<uint64_t>(-5));
  CHECK_EQ(word_of("mov.u32 %r1, 0x00345678; mov.u32 %r2, 0xab; bfi.b32 %r9, %r2, %r1, 24, 8;"),
           0xab345678u);
  const std::string bytes = "mov.u32 %r1, 0x33221100; mov.u32 %r2, 0x77665584; ";
  CHECK_EQ(word_of(bytes + "prmt.b32 %r9, %r1, %r2, 0x5410;"), 0x55841100u);
  CHECK_EQ(word_of(bytes + "prmt.b32 %r9, %r1, %r2, 0x7c03;"), 0x77ff0033u);
  CHECK_EQ(word_of("mov.u64 %d1, 0x0000800000000000; clz.b64 %r9, %d1;"), 16u);
}

TEST(shifts_by_more_than_there_are_bits) {
  CHECK_EQ(word_of("mov.u32 %r1, -1; mov.u32 %r2, 32; shl.b32 %r9, %r1, %r2;"), 0u);
  CHECK_EQ(word_of("mov.u32 %r1, -1; mov.u32 %r2, 99; shr.u32 %r9, %r1, %r2;"), 0u);
  CHECK_EQ(word_of("mov.u32 %r1, -8; mov.u32 %r2, 99; shr.s32 %r9, %r1, %r2;"), 0xffffffffu);
}

TEST(carries_go_from_word_to_word) {
  CHECK_EQ(word_of("mov.u32 %r1, -1; add.cc.u32 %r2, %r1, 1; addc.u32 %r9, 4, 0;"), 5u);
  CHECK_EQ(word_of("mov.u32 %r1, 0; sub.cc.u32 %r2, %r1, 1; subc.u32 %r9, 4, 0;"), 3u);
  CHECK_EQ(
      word_of("mov.u32 %r1, -1; mad.lo.cc.u32 %r2, %r1, %r1, 0; madc.hi.u32 %r9, %r1, %r1, 0;"),
      0xfffffffeu);
}

TEST(floats) {
  CHECK_EQ(float_of("mov.f32 %f1, " + f(0.1f) + "; fma.rn.f32 %f9, %f1, %f1, " + f(-0.01f) + ";"),
           std::fma(0.1f, 0.1f, -0.01f));
  CHECK_EQ(float_of("mov.f32 %f1, " + f(NAN) + "; max.f32 %f9, %f1, " + f(2) + ";"), 2.0f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(1) + "; add.rz.f32 %f9, %f1, " + f(0x1.8p-24f) + ";"),
           1.0f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(1) + "; fma.rm.f32 %f9, %f1, %f1, " + f(-0x1p-30f) + ";"),
           1 - 0x1p-24f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(-150) + "; ex2.approx.ftz.f32 %f9, %f1;"), 0.0f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(3) + "; ex2.approx.ftz.f32 %f9, %f1;"), 8.0f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(-3) + "; mov.f32 %f2, " + f(5) +
                    "; copysign.f32 %f9, %f1, %f2;"),
           -5.0f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(7.5f) + "; cvt.sat.f32.f32 %f9, %f1;"), 1.0f);
  CHECK_EQ(float_of("mov.f32 %f1, " + f(2.5f) + "; cvt.rni.f32.f32 %f9, %f1;"), 2.0f);
  CHECK_EQ(word_of("mov.f32 %f1, " + f(1.00390625f) + "; mov.f32 %f2, " + f(-2) +
                   "; cvt.rn.bf16x2.f32 %r9, %f2, %f1;"),
           0xc0003f80u);  // a tie goes to the even one
  CHECK_EQ(word_of("mov.f32 %f1, " + f(1e9f) + "; mov.f32 %f2, " + f(-0.3f) +
                   "; cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2; cvt.u32.u16 %r9, %h1;"),
           0x7eaau);  // 448 and -0.3125
}

TEST(comparisons_with_nan) {
  const std::string nan = "mov.f32 %f1, " + f(NAN) + "; mov.f32 %f2, " + f(1) + "; ";
  for (const char* op : {"eq", "ne", "lt", "le", "gt", "ge"})
    CHECK(!predicate_of(nan + "setp." + op + ".f32 %p1, %f1, %f2;"));
  for (const char* op : {"equ", "neu", "ltu", "leu", "gtu", "geu"})
    CHECK(predicate_of(nan + "setp." + op + ".f32 %p1, %f1, %f2;"));
}

TEST(lanes_go_their_own_ways_and_meet_again) {
  std::vector<uint32_t> data(32);
  const std::string loop = kernel(R"(
    mov.u32 %r1, 0;
    mov.u32 %r2, %r0;
AGAIN:
    setp.eq.u32 %p1, %r2, 0;
    @%p1 bra DONE;
    add.u32 %r1, %r1, %r2;
    sub.u32 %r2, %r2, 1;
    bra AGAIN;
DONE:
    shfl.sync.bfly.b32 %r3|%p2, %r1, 1, 31, -1;
    mul.wide.u32 %d1, %r0, 4;
    add.s64 %d1, %d0, %d1;
    st.global.u32 [%d1], %r3;)");
  CHECK_EQ(run(loop, data), "");
  for (uint32_t lane = 0; lane < 32; ++lane)
    CHECK_EQ(data[lane], (lane ^ 1) * ((lane ^ 1) + 1) / 2);
}

TEST(lanes_that_never_come_are_an_error) {
  std::vector<uint32_t> data(32);
  CHECK(says(
      run(kernel(
              "setp.eq.u32 %p1, %r0, 3;\n@%p1 ret;\nshfl.sync.bfly.b32 %r3|%p2, %r0, 1, 31, -1;"),
          data),
      "ended"));
  CHECK(says(run(kernel("setp.eq.u32 %p1, %r0, 3;\n@%p1 bar.warp.sync -1;"), data), "never come"));
}

namespace {

// Each thread puts its number to shared memory and gets another's: a neighbour's of its warp, or
// one of another warp's.
std::string exchange(const char* between, int across) {
  return kernel(
      text("mov.u32 %r1, memory; shl.b32 %r2, %r0, 2; add.u32 %r3, %r1, %r2; st.shared.u32 [%r3], "
           "%r0;\n",
           between, "\nxor.b32 %r4, %r2, ", across * 4,
           "; add.u32 %r4, %r1, %r4; ld.shared.u32 %r5, [%r4];\n",
           "mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d0, %d1; st.global.u32 [%d1], %r5;"));
}
constexpr Shape kTwoWarps{64, 1, 1, 256};

}  // namespace

TEST(barriers_order_shared_memory) {
  std::vector<uint32_t> data(64);
  CHECK_EQ(run(exchange("bar.sync 0;", 32), data, kTwoWarps), "");
  for (uint32_t i = 0; i < 64; ++i) CHECK_EQ(data[i], i ^ 32);
  CHECK_EQ(run(exchange("bar.warp.sync -1;", 1), data, kTwoWarps), "");
}

TEST(a_missing_barrier_is_a_race_whoever_comes_first) {
  const std::vector<uint32_t> data(64);
  CHECK(always_says(exchange("", 32), data, kTwoWarps, "shared memory"));
  CHECK(always_says(exchange("bar.warp.sync -1;", 32), data, kTwoWarps, "shared memory"));
  CHECK(always_says(exchange("", 1), data, kTwoWarps, "read after it was written"));
}

// Each thread stores a word and reads another's: its neighbour's, of its warp, its block or not.
TEST(global_memory_that_others_write) {
  const std::vector<uint32_t> data(128);
  const auto exchange = [](const char* between, int across) {
    return kernel(
        text("mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.s32 %r3, %r1, %r2, %r0; "
             "mul.wide.u32 %d1, %r3, 4; add.s64 %d1, %d0, %d1; st.global.u32 [%d1], %r3;\n",
             between, "\nxor.b32 %r4, %r3, ", across,
             "; mul.wide.u32 %d2, %r4, 4; add.s64 %d2, %d0, %d2; ld.global.u32 %r5, [%d2];"));
  };
  const Shape shape{64, 2, 1, 0};
  std::vector<uint32_t> copy = data;
  for (const int across : {0, 1})
    CHECK_EQ(run(exchange("bar.warp.sync -1;", across), copy, shape), "");
  CHECK_EQ(run(exchange("bar.sync 0;", 32), copy, shape), "");
  CHECK(says(run(exchange("", 1), copy, shape), "global memory: read after it was written"));
  CHECK(says(run(exchange("bar.warp.sync -1;", 32), copy, shape, 3), "global memory"));
  CHECK(says(run(exchange("bar.sync 0;", 64), copy, shape), "global memory"));
  const std::string both = kernel(
      "mul.wide.u32 %d1, %r0, 2; add.s64 %d1, %d0, %d1; mov.u16 %h1, 1; "
      "st.global.u16 [%d1], %h1;");
  CHECK_EQ(run(both, copy, {64, 1, 1, 0}), "");
  CHECK(says(run(both, copy, shape), "global memory: written twice"));
}

TEST(memory_that_is_not_the_kernels) {
  std::vector<uint32_t> data(32);
  const auto at = [](const char* what) {
    return kernel(std::string("mov.u32 %r1, memory;\n") + what);
  };
  CHECK(says(run(at("st.global.u32 [%d0+128], %r0;"), data), "writes global memory"));
  CHECK(says(run(at("ld.global.u32 %r2, [%d0+-4];"), data), "reads global memory"));
  CHECK(
      says(run(at("ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%d0+4];"), data), "no multiple of 16"));
  CHECK(says(run(at("st.shared.u32 [%r1+64], %r0;"), data, {32, 1, 1, 64}), "not the block's"));
  CHECK(says(run(at("mov.b64 %d1, test_0; cvta.param.u64 %d2, %d1; st.u32 [%d2], %r0;"), data),
             "writes global memory"));
}

TEST(a_barrier_that_some_warps_never_reach) {
  std::vector<uint32_t> data(64);
  CHECK(says(run(kernel("setp.lt.u32 %p1, %r0, 32;\n@%p1 bar.sync 1, 64;"), data, kTwoWarps),
             "nothing goes on"));
  CHECK(says(run(kernel("setp.lt.u32 %p1, %r0, 16;\n@%p1 bar.sync 0;"), data, kTwoWarps),
             "never come"));
}

TEST(copies_come_when_they_are_waited_for) {
  const auto copy = [](const char* wait) {
    return kernel(
        text("mov.u32 %r1, memory; shl.b32 %r2, %r0, 4; add.u32 %r3, %r1, %r2; cvt.u64.u32 %d1, "
             "%r2; add.s64 %d1, %d0, %d1;\n"
             "setp.lt.u32 %p1, %r0, 8; selp.u32 %r4, 16, 0, %p1;\n"
             "cp.async.cg.shared.global [%r3], [%d1], 16, %r4;\ncp.async.commit_group;\n",
             wait,
             "\nld.shared.u32 %r5, [%r3]; mul.wide.u32 %d2, %r0, 4; add.s64 %d2, %d0, %d2; "
             "st.global.u32 [%d2+512], %r5;"));
  };
  std::vector<uint32_t> data(256, 7);
  CHECK_EQ(run(copy("cp.async.wait_group 0;"), data, {32, 1, 1, 512}), "");
  for (uint32_t i = 0; i < 32; ++i) CHECK_EQ(data[128 + i], i < 8 ? 7u : 0u);
  CHECK_EQ(run(copy("cp.async.wait_group 1;"), data, {32, 1, 1, 512}), "");
  CHECK_EQ(data[128], 0xffffffffu);
}

TEST(what_is_not_ptx) {
  std::vector<uint32_t> data(32);
  for (const char* body :
       {"unknown.op %r1, %r2;", "add.s32 %r1, %r2, %d1;", "add.s32 %r1, %nowhere, 1;",
        "bra NOWHERE;", "add.s32 %r1",
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f0}, {%r1}, {%r2}, {%f1};"})
    CHECK(run(kernel(body), data) != "");
  CHECK(says(run(kernel("wgmma.fence.sync.aligned;"), data), "not known"));  // not on sm_80
}

int main() {
  for (const hrsam::test::Test& test : hrsam::test::tests()) test.body();
  std::cout << hrsam::test::tests().size() << " tests, " << hrsam::test::failures()
            << " failed checks" << std::endl;
  return hrsam::test::failures() == 0 ? 0 : 1;
}

namespace {

// What a kernel asks for, of one warp whose lanes go through 4 KB of shared memory.
Counts::Kernel::Line count_line(const std::string& body, const char* opcode,
                                unsigned threads = 32) {
  std::vector<uint32_t> data(4096);
  Counts counts;
  const std::string error =
      run(kernel(body), data.data(), data.size() * 4, {threads, 1, 1, 4096}, 1, &counts);
  if (!error.empty()) hrsam::test::check(false, __FILE__, __LINE__, body + ": " + error);
  for (const auto* one : counts.kernels())
    for (size_t pc = 0; pc < one->lines.size(); ++pc)
      if (one->code->opcodes[pc] == opcode) return one->lines[pc];
  return {};
}
Counts::Kernel::Line stores(int stride, const char* type = "u32", const char* value = "%r0") {
  return count_line(text("mov.u32 %r1, memory; mad.lo.u32 %r1, %r0, ", stride, ", %r1; st.shared.",
                         type, " [%r1], ", value, ";"),
                    (std::string("st.shared.") + type).c_str());
}

}  // namespace

TEST(passes_over_shared_memory_are_counted) {
  CHECK_EQ(stores(4).passes, 1.0);
  CHECK_EQ(stores(8).passes, 2.0);
  CHECK_EQ(stores(128).passes, 32.0);
  CHECK_EQ(stores(128).fewest, 1.0);
  CHECK_EQ(stores(16, "v4.u32", "{%r0, %r0, %r0, %r0}").passes, 4.0);
  CHECK_EQ(stores(16, "v4.u32", "{%r0, %r0, %r0, %r0}").fewest, 4.0);
  CHECK_EQ(stores(64, "v4.u32", "{%r0, %r0, %r0, %r0}").passes, 16.0);
  CHECK_EQ(stores(8, "v2.u32", "{%r0, %r0}").passes, 2.0);
}

TEST(sectors_of_global_memory_are_counted) {
  const auto loads = [](int stride) {
    return count_line(text("mul.wide.u32 %d1, %r0, ", stride,
                           "; add.u64 %d1, %d0, %d1; ld.global.u32 %r9, [%d1];"),
                      "ld.global.u32");
  };
  CHECK_EQ(loads(4).issued, 1.0);
  CHECK_EQ(loads(4).lanes, 32.0);
  CHECK_EQ(loads(4).needed, 4.0);
  CHECK(loads(4).sectors <= 5.0);  // where the vector begins within a sector is the allocator's
  CHECK_EQ(loads(64).sectors, 32.0);
  CHECK_EQ(loads(0).sectors, 1.0);
}

TEST(a_sample_counts_for_all_blocks) {
  std::vector<uint32_t> data(4);
  Counts counts;
  counts.sample = 2;
  const std::string error =
      run(kernel("ld.global.u32 %r9, [%d0];"), data.data(), 16, {32, 10, 1, 0}, 1, &counts);
  CHECK_EQ(error, "");
  for (const auto* one : counts.kernels()) {
    CHECK_EQ(one->blocks, 10.0);
    for (size_t pc = 0; pc < one->lines.size(); ++pc)
      if (one->code->opcodes[pc] == "ld.global.u32") CHECK_EQ(one->lines[pc].issued, 10.0);
  }
  CHECK(says(counts.report(), "test"));
}

TEST(errors_tell_the_source_where_ptx_has_it) {
  std::vector<uint32_t> data(4);
  const std::string ptx =
      kernel(
          ".loc 1 7 3, function_name $L__info_string0, inlined_at 2 9 1\n"
          "ld.global.u32 %r9, [%d0+64];") +
      ".file 1 \"/a/one.h\"\n.file 2 \"/a/two.cu\"\n.section .debug_str\n{\n.b8 1\n}\n";
  CHECK(says(run(ptx, data), "one.h:7 from two.cu:9"));
}

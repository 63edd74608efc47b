// The GPU that interprets PTX as a Hopper: mbarriers, clusters, copies of boxes, products of
// warpgroups.
#include <bit>
#include <cstdlib>
#include <memory>

#include "ptx/run_kernel.h"
#include "ptx/tensor_boxes.h"

namespace {

using namespace ptx::test;

constexpr const char* kHopper = "sm_90a";
// Boxes begin at %r2, aligned to 1024 bytes; %r3 is the address of an mbarrier behind two of them.
constexpr int kBox = 64 * 128;
constexpr Shape kGroup{128, 1, 1, 1024 + 2 * kBox + 64};
constexpr const char* kPlaces =
    "mov.u32 %r1, memory; add.u32 %r2, %r1, 1023; and.b32 %r2, %r2, -1024; add.u32 %r3, %r2, "
    "16384;\n";
constexpr const char* kInit =
    "setp.ne.u32 %p1, %r0, 0;\n@!%p1 mbarrier.init.shared::cta.b64 [%r3], "
    "1;\nfence.mbarrier_init.release.cluster;\nbar.sync 0;\n";
constexpr const char* kWait =
    "WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;\n@!%p2 bra WAIT;\n";

// What kernels here are given: tensor maps, matrices of bf16, room for results.
struct Data {
  static constexpr int kRows = 70, kColumns = 100;
  alignas(128) ptx::TensorBoxes maps[2];
  alignas(128) uint16_t matrix[2][kRows][104];
  uint32_t out[128][64];

  static std::unique_ptr<Data> make(int box_rows) {
    auto made = std::make_unique<Data>();
    for (int m = 0; m < 2; ++m) {
      auto& map = made->maps[m];
      map.data = reinterpret_cast<uint64_t>(made->matrix[m]);
      const int64_t sizes[] = {kColumns, kRows, 1}, strides[] = {208, 208 * kRows};
      std::copy(sizes, sizes + 3, map.sizes);
      std::copy(strides, strides + 2, map.strides);
      map.rows = static_cast<uint32_t>(box_rows);
      for (int r = 0; r < kRows; ++r)
        for (int c = 0; c < 104; ++c)
          made->matrix[m][r][c] = static_cast<uint16_t>(
              std::bit_cast<uint32_t>(static_cast<float>((r * 7 + c * 13 + m) % 29 - 14)) >> 16);
    }
    return made;
  }
  float at(int m, int row, int column) const {
    if (row >= kRows || column >= kColumns) return 0;
    return std::bit_cast<float>(static_cast<uint32_t>(matrix[m][row][column]) << 16);
  }
};
static_assert(sizeof(ptx::TensorBoxes) <= 128);

std::string run(const std::string& ptx, Data& data, const Shape& shape = kGroup,
                uint64_t seed = 1) {
  return ptx::test::run(ptx, &data, sizeof(data), shape, seed);
}

// Matrix `m`'s box to the place `at` bytes behind %r2, by the first thread.
std::string copy(int m, int column, int row, int at) {
  return text("add.u64 %d1, %d0, ", offsetof(Data, maps) + m * sizeof(ptx::TensorBoxes),
              "; add.u32 %r4, %r2, ", at, "; mov.u32 %r5, ", column, "; mov.u32 %r6, ", row,
              "; mov.u32 %r7, 0;\n",
              "@!%p1 cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
              "[%r4], [%d1, {%r5, %r6, %r7}], [%r3];\n");
}
std::string expect_bytes(int bytes) {
  return text("@!%p1 mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r3], ", bytes, ";\n");
}

// Each of 128 threads stores its words of shared memory.
std::string store_words(int count) {
  std::string made =
      text("mul.wide.u32 %d2, %r0, 256; add.s64 %d2, %d0, %d2;\nmul.lo.s32 %r8, %r0, ", count * 4,
           "; add.u32 %r8, %r2, %r8;\n");
  for (int i = 0; i < count; ++i)
    made += text("ld.shared.u32 %r9, [%r8+", 4 * i, "]; st.global.u32 [%d2+",
                 offsetof(Data, out) + 4 * i, "], %r9;\n");
  return made;
}

}  // namespace

TEST(boxes_are_swizzled_and_end_in_zeros) {
  const auto data = Data::make(64);
  CHECK_EQ(run(kernel(std::string(kPlaces) + kInit + expect_bytes(kBox) + copy(0, 64, 16, 0) +
                          kWait + store_words(16),
                      kHopper),
               *data),
           "");
  int wrong = 0;
  for (int row = 0; row < 64; ++row)
    for (int column = 0; column < 64; ++column) {
      const int byte = row * 128 + ((column / 8) ^ (row % 8)) * 16 + column % 8 * 2;
      const uint32_t word = data->out[byte / 64][byte % 64 / 4];
      const float got = std::bit_cast<float>((byte % 4 ? word >> 16 : word & 0xffff) << 16);
      wrong += got != data->at(0, row + 16, column + 64);
    }
  CHECK_EQ(wrong, 0);
}

TEST(kernels_that_start_early_wait_before_they_touch_memory) {
  constexpr const char* kWaits = "griddepcontrol.wait;\ngriddepcontrol.launch_dependents;\n";
  constexpr const char* kTouches = "while the kernel before may still run";
  const std::string store =
      "mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d0, %d1;\nst.global.u32 "
      "[%d1], %r0;\n";
  const Shape early{.threads = 64, .shared = 1024, .early = true};
  std::vector<uint32_t> data(64, 99);
  CHECK_EQ(run(kernel(kWaits + store, kHopper), data, early), "");
  CHECK_EQ(data[63], 63u);
  CHECK(says(run(kernel(store + kWaits, kHopper), data, early), kTouches));
  CHECK(says(run(kernel("ld.global.u32 %r1, [%d0];\n" + std::string(kWaits), kHopper), data, early),
             kTouches));
  CHECK(says(run(kernel(std::string("mov.u32 %r1, memory; cp.async.cg.shared.global [%r1], [%d0], "
                                    "16;\n") +
                            kWaits,
                        kHopper),
                 data, early),
             kTouches));
  // Whoever waits waits for itself alone, and ends after that.
  const std::string some = "setp.lt.u32 %p1, %r0, 40;\n@%p1 griddepcontrol.wait;\n";
  CHECK(says(run(kernel(some + store, kHopper), data, early), kTouches));
  CHECK(says(run(kernel(some, kHopper), data, early), "ends without having waited"));
  CHECK_EQ(run(kernel(store, kHopper), data, {.threads = 64}), "");
  CHECK(says(run(kernel(kWaits), data, early), "not of that target"));

  const auto boxes = Data::make(64);
  Shape group = kGroup;
  group.early = true;
  const std::string box = expect_bytes(kBox) + copy(0, 0, 0, 0);
  CHECK(
      says(run(kernel(std::string(kPlaces) + kInit + box + kWaits + kWait, kHopper), *boxes, group),
           kTouches));
  CHECK_EQ(run(kernel(std::string(kPlaces) + kInit + kWaits + box + kWait, kHopper), *boxes, group),
           "");
}

TEST(a_box_that_is_not_waited_for) {
  const auto data = Data::make(64);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string message = run(kernel(std::string(kPlaces) + kInit + expect_bytes(kBox) +
                                               copy(0, 0, 0, 0) + store_words(16),
                                           kHopper),
                                    *data, kGroup, seed);
    CHECK(says(message, "shared memory") || says(message, "before copies to them did"));
  }
  // More bytes than come, none at all, and a place that is not aligned.
  CHECK(says(
      run(kernel(std::string(kPlaces) + kInit + expect_bytes(kBox + 16) + copy(0, 0, 0, 0) + kWait,
                 kHopper),
          *data),
      "nothing goes on"));
  CHECK(says(run(kernel(std::string(kPlaces) + kInit + kWait, kHopper), *data), "nothing goes on"));
  CHECK(says(
      run(kernel(std::string(kPlaces) + kInit + expect_bytes(kBox) + copy(0, 0, 0, 128) + kWait,
                 kHopper),
          *data),
      "not aligned to 1024"));
}

namespace {

// 64 x 64 sums of four products of depth 16, of the boxes at 0 and 8192 behind %r2, in parts that
// may be left out.
struct Product {
  const char* fence = "wgmma.fence.sync.aligned;\n";
  const char* before = "";  // ahead of the fence
  const char* after_issue = "";
  const char* wait = "wgmma.wait_group.sync.aligned 0;\n";

  std::string ptx() const {
    std::string made = std::string(kPlaces) + kInit + expect_bytes(2 * kBox) + copy(0, 0, 0, 0) +
                       copy(1, 0, 0, kBox) + kWait;
    std::string sums;
    for (int i = 0; i < 32; ++i) {
      made += text("mov.f32 %f", i, ", 0f3F800000;\n");  // 1
      sums += text(i ? ", " : "", "%f", i);
    }
    // Rows of eight 1024 bytes apart, swizzled by 128 bytes.
    made +=
        "shr.u32 %r10, %r2, 4; cvt.u64.u32 %d3, %r10; or.b64 %d3, %d3, 0x4000004000010000; add.u64 "
        "%d4, %d3, 512;\n";
    made += std::string(before) + fence + "setp.eq.u32 %p3, %r0, %r0;\n";
    for (int k = 0; k < 4; ++k)
      made +=
          text("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {", sums,
               "}, %d3, %d4, %p3, 1, 1, 0, 0;\n", "add.u64 %d3, %d3, 2; add.u64 %d4, %d4, 2;\n");
    made += std::string("wgmma.commit_group.sync.aligned;\n") + after_issue + wait;
    made += "mul.wide.u32 %d2, %r0, 256; add.s64 %d2, %d0, %d2;\n";
    for (int i = 0; i < 32; ++i)
      made += text("st.global.f32 [%d2+", offsetof(Data, out) + 4 * i, "], %f", i, ";\n");
    return kernel(made, kHopper);
  }
};

}  // namespace

TEST(products_of_a_warpgroup) {
  const auto data = Data::make(64);
  CHECK_EQ(run(Product().ptx(), *data), "");
  int wrong = 0;
  for (int thread = 0; thread < 128; ++thread)
    for (int i = 0; i < 32; ++i) {
      const int row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8,
                column = i / 4 * 8 + thread % 4 * 2 + i % 2;
      float want = 1;
      for (int k = 0; k < 64; ++k) want += data->at(0, row, k) * data->at(1, column, k);
      wrong += std::bit_cast<float>(data->out[thread][i]) != want;
    }
  CHECK_EQ(wrong, 0);
}

TEST(products_out_of_order) {
  const auto data = Data::make(64);
  const char* write =
      "add.u32 %r11, %r2, 16; mov.u32 %r12, 0; setp.eq.u32 %p4, %r0, 0; @%p4 st.shared.u32 [%r11], "
      "%r12;\n";
  CHECK(says(run(Product{.fence = ""}.ptx(), *data), "wgmma.fence"));
  CHECK(says(run(Product{.wait = ""}.ptx(), *data), "products still write"));
  CHECK(says(run(Product{.after_issue = "add.f32 %f3, %f3, %f3;\n"}.ptx(), *data),
             "products still write"));
  CHECK(says(run(Product{.after_issue = write}.ptx(), *data), "written after it was read"));
  CHECK(says(run(Product{.before = write}.ptx(), *data), "without fence.proxy.async"));
  const std::string shown = std::string(write) + "fence.proxy.async.shared::cta;\nbar.sync 0;\n";
  CHECK_EQ(run(Product{.before = shown.c_str()}.ptx(), *data), "");
}

TEST(products_of_which_warps_do_not_agree) {
  const auto data = Data::make(64);
  constexpr const char* kLast = "setp.ge.u32 %p5, %r0, 96;\n";
  const std::string other = text(kLast, "@%p5 add.u64 %d4, %d4, 2;\n"),
                    none = text(kLast, "@%p5 ret;\n");
  CHECK(says(run(Product{.before = other.c_str()}.ptx(), *data), "do not agree about a product"));
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const std::string message = run(Product{.before = none.c_str()}.ptx(), *data, kGroup, seed);
    CHECK(says(message, "of its warpgroup") || says(message, "that is not whole"));
  }
  Shape three_warps = kGroup;
  three_warps.threads = 96;
  CHECK(says(run(Product().ptx(), *data, three_warps), "that is not whole"));
}

// Two warps and two mbarriers of one arrival each: one warp's first lane arrives at the first for
// all of its warp, the other warp waits, arrives at the second, for which the first waits, twice.
TEST(a_lane_does_not_speak_for_its_warp) {
  const std::string begin =
      std::string(kPlaces) +
      "add.u32 %r4, %r3, 8; and.b32 %r20, %r0, 31; setp.ne.u32 %p1, %r20, 0; setp.ge.u32 %p4, %r0, "
      "32;\nsetp.eq.u32 %p3, %r0, 0;\n@%p3 mbarrier.init.shared::cta.b64 [%r3], 1;\n@%p3 "
      "mbarrier.init.shared::cta.b64 [%r4], 1;\nbar.sync 0;\n";
  const auto arrive = [](const char* at) {
    return text("@!%p1 mbarrier.arrive.shared::cta.b64 _, [", at, "];\n");
  };
  const auto wait = [](const char* label, const char* at, int parity) {
    return text(label, ":\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [", at, "], ", parity,
                ";\n@!%p2 bra ", label, ";\n");
  };
  Shape two_warps = kGroup;
  two_warps.threads = 64;
  const auto message = [&](const std::string& body, uint64_t seed) {
    const auto data = Data::make(64);
    return run(kernel(begin + body, kHopper), *data, two_warps, seed);
  };
  // Words that all lanes write.
  const auto words = [&](const char* between) {
    return "shl.b32 %r21, %r20, 2; add.u32 %r21, %r2, %r21;\n@%p4 bra OTHER;\n"
           "st.shared.u32 [%r21], %r0;\n" +
           std::string(between) + arrive("%r3") + "ret;\nOTHER:\n" + wait("WAIT", "%r3", 0) +
           "ld.shared.u32 %r22, [%r21];\n";
  };
  // A lane that is late finds the first phase ended, or the second as well, and waits forever.
  const auto turns = [&](const char* between) {
    return "@%p4 bra OTHER;\n" + wait("WAIT", "%r3", 0) + between + arrive("%r4") +
           "ret;\nOTHER:\n" + arrive("%r3") + wait("ANSWER", "%r4", 0) + arrive("%r3");
  };
  for (uint64_t seed = 0; seed < 10; ++seed) {
    CHECK(says(message(words(""), seed), "read after it was written"));
    CHECK_EQ(message(words("bar.warp.sync -1;\n"), seed), "");
    CHECK(says(message(turns(""), seed), "may not have heard"));
    CHECK_EQ(message(turns("bar.warp.sync -1;\n"), seed), "");
  }
}

TEST(who_waits_in_a_long_loop_waits_in_vain) {
  const auto data = Data::make(64);
  std::string loop = "WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p2, [%r3], 0;\n";
  for (int i = 0; i < 20; ++i) loop += "add.u32 %r8, %r8, 1;\n";
  CHECK(says(run(kernel(std::string(kPlaces) + kInit + loop + "@!%p2 bra WAIT;\n", kHopper), *data),
             "nothing goes on"));
}

TEST(registers_that_warps_give_each_other) {
  // Three warpgroups of 168 registers a thread: the first gives, the others take.
  const auto message = [](const char* less, const char* more, bool is_bounded = true) {
    std::string ptx =
        kernel(text("setp.lt.u32 %p1, %r0, 128;\n@%p1 bra LESS;\n"
                    "setmaxnreg.inc.sync.aligned.u32 ",
                    more, ";\nret;\nLESS:\nsetmaxnreg.dec.sync.aligned.u32 ", less, ";\n"),
               kHopper);
    if (is_bounded) ptx.insert(ptx.find("{\n"), ".maxntid 384, 1, 1\n.minnctapersm 1\n");
    std::vector<uint32_t> data(1);
    return ptx::test::run(ptx, data, {.threads = 384, .shared = 1024});
  };
  CHECK_EQ(message("24", "240"), "");
  CHECK_EQ(message("88", "208"), "");
  CHECK(says(message("32", "240"), "nothing goes on"));
  CHECK(says(message("176", "168"), "the wrong way"));
  CHECK(says(message("24", "160"), "the wrong way"));
  CHECK(says(message("24", "240", false), "which ptxas ignores"));
}

TEST(blocks_of_a_cluster) {
  // Each block's first thread arrives at the other's mbarrier; boxes go to both.
  const std::string both =
      "mov.u32 %r20, %ctaid.x; xor.b32 %r21, %r20, 1; mapa.shared::cluster.u32 %r22, %r3, %r21;\n"
      "barrier.cluster.arrive.release; barrier.cluster.wait.acquire;\n";
  const std::string exchange = std::string(kPlaces) + kInit + both +
                               "@!%p1 mbarrier.arrive.shared::cluster.b64 _, [%r22];\n" + kWait +
                               "barrier.cluster.arrive.release; barrier.cluster.wait.acquire;";
  const auto data = Data::make(64);
  Shape two = kGroup;
  two.blocks = two.cluster = 2;
  for (uint64_t seed = 0; seed < 5; ++seed)
    CHECK_EQ(run(kernel(exchange, kHopper), *data, two, seed), "");
  std::string all = copy(0, 0, 0, 0);
  all.replace(all.find("::bytes"), 7, "::bytes.multicast::cluster");
  all.replace(all.rfind(";"), 1, ", %h1;");
  const std::string multicast = std::string(kPlaces) + kInit + both +
                                "mov.u16 %h1, 3; setp.ne.u32 %p5, %r20, 0;\n" + expect_bytes(kBox) +
                                "or.pred %p1, %p1, %p5;\n" + all + kWait + "@!%p5 ret;\n" +
                                store_words(16);
  CHECK_EQ(run(kernel(multicast, kHopper), *data, two), "");
  CHECK(says(run(kernel(multicast, kHopper), *data), "that the cluster has not"));
  // The first block alone shows its mbarrier.
  std::string hidden = multicast;
  hidden.insert(hidden.find("fence.mbarrier_init"),
                "mov.u32 %r20, %ctaid.x; setp.eq.u32 %p6, %r20, 0;\n@%p6 ");
  CHECK(says(run(kernel(hidden, kHopper), *data, two), "no fence has shown"));
}

int main() {
  for (const hrsam::test::Test& test : hrsam::test::tests()) test.body();
  std::cout << hrsam::test::tests().size() << " tests, " << hrsam::test::failures()
            << " failed checks" << std::endl;
  return hrsam::test::failures() == 0 ? 0 : 1;
}

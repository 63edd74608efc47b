#include "hopper.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "block.h"

namespace gpu_on_cpu {

namespace {

constexpr uint32_t kFirstAddress = 384;  // a multiple of 128, not of 1024
constexpr uint32_t kSwizzleBytes = 1024;
constexpr int kRowBytes = 128;
constexpr int kDeep = 16, kDeepest = 32;  // columns of a: of bf16, of e4m3
constexpr int kMostColumns = 256;

// 128-byte swizzle: the lowest three bits of the row's number into those of the piece of 16 bytes.
uint32_t swizzled(uint32_t address) { return address ^ (address >> 3 & 0x70); }

unsigned char* in_view(unsigned char* view, size_t bytes, uint32_t address, size_t size) {
  const size_t offset = address - kFirstAddress;
  if (address < kFirstAddress || offset + size > bytes)
    throw std::runtime_error("past the end of shared memory");
  return view + offset;
}

// What products see begins as NaN, like shared memory itself.
std::vector<unsigned char>& shown(Block& b) {
  if (b.shown.size() != b.shared_bytes) b.shown.assign(b.shared_bytes, 0xff);
  return b.shown;
}

// Null where none was made there.
Barrier* find_barrier(Block& b, const void* address) {
  const auto found = b.barriers.find(address);
  return found == b.barriers.end() ? nullptr : &found->second;
}
constexpr char kNoBarrier[] = "a barrier that was never made";
constexpr char kEnded[] = "something reaches a block of the cluster that has ended";
constexpr char kTooMany[] = "more arrivals or bytes than a barrier expects";

// Its phase may have ended. False: something is wrong.
bool look_at(Block& b, const void* address, Barrier& barrier) {
  // Another block's copies may be there before their bytes are announced.
  const bool early = cluster().blocks.size() > 1 && barrier.missing > 0;
  if ((barrier.bytes < 0 && !early) || barrier.missing < 0) return false;
  if (barrier.missing > 0 || barrier.bytes != 0) return true;
  barrier.parity ^= 1;
  barrier.missing = barrier.arrivals;
  for (size_t i = 0; i < b.warps.size() * kLanes; ++i) {
    Lane& lane = b.lanes[i];
    if (lane.state == State::waiting && lane.barrier == address && lane.parity != barrier.parity)
      lane.state = State::ready;
  }
  return true;
}

float bf16_at(const unsigned char* at) {
  uint16_t half;
  std::memcpy(&half, at, 2);
  const uint32_t bits = uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

float of_e4m3(unsigned char bits) {
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  if (exponent == 15 && fraction == 7) return NAN;
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -9)
                                   : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  return (bits & 0x80) != 0 ? -size : size;
}

// An operand's descriptor, taken apart.
struct Operand {
  uint32_t start, lead, stride;
  explicit Operand(uint64_t d)
      : start(static_cast<uint32_t>(d & 0x3fff) << 4),
        lead(static_cast<uint32_t>(d >> 16 & 0x3fff) << 4),
        stride(static_cast<uint32_t>(d >> 32 & 0x3fff) << 4) {
    if (d >> 62 != 1) throw std::runtime_error("wgmma: an operand without the 128-byte swizzle");
    if ((d >> 49 & 7) != 0 || start % kSwizzleBytes >= kRowBytes)
      throw std::runtime_error("wgmma: an operand that does not begin where the swizzle does");
  }
  // Rows of numbers along k; or rows of k, the numbers along the other side. Of two bytes each.
  uint32_t address(int row, int k, bool by_k) const {
    const auto r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(k);
    return swizzled(by_k ? start + r / 64 * lead + c / 8 * stride + c % 8 * kRowBytes + r % 64 * 2
                         : start + r / 8 * stride + r % 8 * kRowBytes + c * 2);
  }
  uint32_t byte_address(int row, int k) const {
    const auto r = static_cast<uint32_t>(row);
    return swizzled(start + r / 8 * stride + r % 8 * kRowBytes + static_cast<uint32_t>(k));
  }
};

void perform(Block& b, size_t warp, const WarpProduct& product) {
  const GroupProduct& p = product.of;
  std::vector<unsigned char>& view = shown(b);
  const int deep = p.e4m3 ? kDeepest : kDeep;
  const auto read = [&](const Operand& from, int row, int k, bool by_k) {
    if (p.e4m3) return of_e4m3(*in_view(view.data(), view.size(), from.byte_address(row, k), 1));
    return bf16_at(in_view(view.data(), view.size(), from.address(row, k, by_k), 2));
  };
  float left[16][kDeepest], right[kDeepest][kMostColumns];
  double sums[16][kMostColumns];
  if (p.a_here == nullptr) {
    const Operand from(p.a);
    for (int r = 0; r < 16; ++r)
      for (int k = 0; k < deep; ++k)
        left[r][k] = read(from, static_cast<int>(warp % 4) * 16 + r, k, false);
  } else {
    // Fragments as those of mma.m16n8k16.
    for (int lane = 0; lane < kLanes; ++lane)
      for (int i = 0; i < 4; ++i)
        for (int half = 0; half < 2; ++half) {
          unsigned char pair[4];
          std::memcpy(pair, product.a[lane] + i, 4);
          left[lane / 4 + i % 2 * 8][lane % 4 * 2 + i / 2 * 8 + half] = bf16_at(pair + 2 * half);
        }
  }
  const Operand from(p.b);
  for (int k = 0; k < deep; ++k)
    for (int n = 0; n < p.columns; ++n) right[k][n] = read(from, n, k, p.b_by_rows);
  const auto each_sum = [&](auto&& visit) {
    for (int lane = 0; lane < kLanes; ++lane)
      for (int i = 0; i < p.columns / 2; ++i)
        visit(sums[lane / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2],
              product.sums[lane][i]);
  };
  each_sum([&](double& sum, const float& own) { sum = p.add ? own : 0.0; });
  for (int r = 0; r < 16; ++r)
    for (int k = 0; k < deep; ++k)
      for (int n = 0; n < p.columns; ++n)
        sums[r][n] += static_cast<double>(left[r][k]) * right[k][n];
  each_sum([&](double sum, float& own) { own = sum_of_products(sum, p.e4m3 ? 14 : 24); });
}

void nothing(unsigned char*, void*) {}

// All lanes must ask for the same; the last one to do so puts it down for the warp.
void note_product(unsigned char* slots, void* context) {
  auto* made = static_cast<WarpProduct*>(context);
  for (int lane = 0; lane < kLanes; ++lane) {
    GroupProduct each;
    std::memcpy(&each, slots + lane * static_cast<int>(kSlotBytes), sizeof(each));
    if (lane == 0) made->of = each;
    const GroupProduct& first = made->of;
    if (each.a != first.a || each.b != first.b || each.columns != first.columns ||
        each.b_by_rows != first.b_by_rows || each.add != first.add || each.e4m3 != first.e4m3)
      fail("wgmma: lanes of one warp ask for different products");
    made->a[lane] = each.a_here;
    made->sums[lane] = each.sums;
  }
  block().warp().open.push_back(*made);
}

}  // namespace

unsigned char to_e4m3(float x) {
  if (std::isnan(x)) return 0x7f;
  const unsigned char sign = std::signbit(x) ? 0x80 : 0;
  const float size = std::fmin(std::fabs(x), 448.0f);
  if (size == 0) return sign;
  // Steps of numbers so large: an eighth of their power of two, 2^-9 at least.
  const int exponent = std::max(std::ilogb(size), -6);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(size, 3 - exponent)));
  const int bits = ((exponent + 7) << 3) + steps - 8;  // a carry goes to the exponent
  return static_cast<unsigned char>(sign | std::min(bits, 0x7e));
}

bool is_hopper() {
  const char* name = std::getenv("HRSAM_TEST_GPU");
  return name != nullptr && std::strcmp(name, "hopper") == 0;
}

size_t most_shared_bytes() { return (is_hopper() ? 227u : 99u) << 10; }

uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - block().shared) +
         kFirstAddress;
}

void make_barrier(const void* barrier, int arrivals) {
  if (!is_hopper()) fail("a barrier that counts bytes, on a GPU that has none");
  block().barriers[barrier] = {arrivals, arrivals, 0, 0};
}

namespace {

void arrive_in(Block& b, const void* address, int bytes) {
  Barrier* barrier = find_barrier(b, address);
  if (barrier == nullptr) fail(kNoBarrier);
  barrier->bytes += bytes;
  --barrier->missing;
  if (!look_at(b, address, *barrier)) fail(kTooMany);
}

}  // namespace

void arrive(const void* address, int bytes) { arrive_in(block(), address, bytes); }

void arrive_at(const void* address, uint32_t which) {
  if (which >= cluster().blocks.size()) fail("an arrival at a block that the cluster has not");
  Block& to = *cluster().blocks[which];
  if (to.has_ended()) fail(kEnded);
  arrive_in(to, in_block(to, block(), address), 0);
}

void cluster_barrier() {
  Block& b = block();
  b.lane().state = State::at_cluster_barrier;
  b.leave();
}

void wait_for_phase(const void* address, uint32_t parity) {
  Block& b = block();
  const Barrier* barrier = find_barrier(b, address);
  if (barrier == nullptr) fail(kNoBarrier);
  if (barrier->parity != parity) return;
  b.lane().barrier = address;
  b.lane().parity = parity;
  b.lane().state = State::waiting;
  b.leave();
}

void copy_box(void* shared, const void* map, int column, int row, int item, const void* barrier,
              uint32_t blocks) {
  if (shared_address(shared) % kSwizzleBytes != 0)
    fail("a bulk copy that does not begin where the swizzle does");
  BoxCopy copy{static_cast<unsigned char*>(shared), {}, {column, row, item}, barrier, blocks};
  std::memcpy(&copy.from, map, sizeof(copy.from));
  // It may be there at once.
  for (size_t i = 0; i < cluster().blocks.size(); ++i) {
    Block& to = *cluster().blocks[i];
    if ((blocks >> i & 1) != 0 && find_barrier(to, in_block(to, block(), barrier)) == nullptr)
      fail(kNoBarrier);
  }
  block().boxes.push_back(copy);
}

namespace {

// What lies at a box's row and column; zeros outside of the matrix.
uint16_t number_at(const BoxCopy& copy, int row, int column) {
  const Matrices3d& m = copy.from;
  const int64_t at[3] = {int64_t{copy.at[0]} + column, int64_t{copy.at[1]} + row, copy.at[2]};
  uint16_t number = 0;
  for (int i = 0; i < 3; ++i)
    if (at[i] < 0 || at[i] >= m.sizes[i]) return number;
  std::memcpy(
      &number,
      static_cast<const char*>(m.data) + at[1] * m.strides[0] + at[2] * m.strides[1] + at[0] * 2,
      2);
  return number;
}

void put_box(const BoxCopy& copy, const Block& from, Block& to) {
  if (to.has_ended()) throw std::runtime_error(kEnded);
  const auto first = static_cast<uint32_t>(in_block(to, from, copy.to) - to.shared) + kFirstAddress;
  std::vector<unsigned char>& view = shown(to);
  const auto [columns, rows] = copy.from.box;
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) {
      const uint16_t number = number_at(copy, r, c);
      const uint32_t at = swizzled(first + static_cast<uint32_t>(r * kRowBytes + c * 2));
      std::memcpy(in_view(to.shared, to.shared_bytes, at, 2), &number, 2);
      std::memcpy(in_view(view.data(), view.size(), at, 2), &number, 2);
    }
  const void* address = in_block(to, from, copy.barrier);
  Barrier* barrier = find_barrier(to, address);
  if (barrier == nullptr) throw std::runtime_error(kNoBarrier);
  barrier->bytes -= int64_t{columns} * rows * 2;
  if (!look_at(to, address, *barrier)) throw std::runtime_error(kTooMany);
}

}  // namespace

void finish_box(Block& b, size_t which) {
  const BoxCopy copy = b.boxes[which];
  b.boxes.erase(b.boxes.begin() + static_cast<int64_t>(which));
  if (copy.blocks == 0) return put_box(copy, b, b);
  for (size_t i = 0; i < cluster().blocks.size(); ++i)
    if ((copy.blocks >> i & 1) != 0) put_box(copy, b, *cluster().blocks[i]);
}

void show_to_products() {
  Block& b = block();
  std::memcpy(shown(b).data(), b.shared, b.shared_bytes);
}

void begin_products() {
  warp_exchange("wgmma.fence", nullptr, 0, nothing, nullptr);
  block().warp().begun = true;
}

void multiply_group(const GroupProduct& product) {
  if (!block().warp().begun) fail("wgmma: no fence before the first product of a group");
  static_assert(sizeof(GroupProduct) <= kSlotBytes);
  GroupProduct own = product;
  WarpProduct made{};
  warp_exchange("wgmma", &own, sizeof(own), note_product, &made);
}

void commit_products() {
  warp_exchange(
      "wgmma.commit_group", nullptr, 0,
      [](unsigned char*, void*) {
        Warp& warp = block().warp();
        warp.groups.push_back(std::move(warp.open));
        warp.open.clear();
        warp.begun = false;
      },
      nullptr);
}

void wait_for_products(int newest) {
  warp_exchange("wgmma.wait_group", nullptr, 0, nothing, nullptr);
  Block& b = block();
  Warp& warp = b.warp();
  warp.newest = static_cast<size_t>(newest);
  if (warp.groups.size() <= warp.newest) return;
  b.lane().state = State::resting;
  b.leave();
}

void finish_products(Block& b, size_t warp) {
  Warp& w = b.warps[warp];
  for (; w.groups.size() > w.newest; w.groups.erase(w.groups.begin()))
    for (const WarpProduct& product : w.groups.front()) perform(b, warp, product);
  for (size_t lane = warp * kLanes; lane < (warp + 1) * kLanes; ++lane)
    b.lanes[lane].state = State::ready;
}

}  // namespace gpu_on_cpu

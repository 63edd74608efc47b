// What a warp's lanes do together, and the copies that each waits for.
#include <bit>
#include <cstring>

#include "instructions.h"

namespace ptx {

// list: d, p or -1, a, b, c, members' mask
void shuffle(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* at = w.code->lists.data() + i.list;
  uint32_t before[kLanes], set = 0;
  std::memcpy(before, w.u32(at[2]), sizeof(before));
  each_lane(lanes, [&](int l) {
    const uint32_t b = w.u32(at[3])[l], c = w.u32(at[4])[l];
    const int clamp = c & 31, segment = c >> 8 & 31;
    const int top = (l & segment) | (clamp & ~segment), bottom = l & segment;
    int from;
    bool inside;
    switch (i.extra) {
      case 0:
        from = l ^ static_cast<int>(b & 31);
        inside = from <= top;
        break;
      case 1:
        from = l - static_cast<int>(b & 31);
        inside = from >= top;
        break;
      case 2:
        from = l + static_cast<int>(b & 31);
        inside = from <= top;
        break;
      default:
        from = bottom | (static_cast<int>(b & 31) & ~segment);
        inside = from <= top;
        break;
    }
    if (!inside) from = l;
    if (!(lanes >> from & 1)) fault(w, "a shuffle reads a lane that takes no part", l);
    w.u32(at[0])[l] = before[from];
    set |= static_cast<uint32_t>(inside) << l;
  });
  if (at[1] >= 0) w.predicates[at[1]] = (w.predicates[at[1]] & ~lanes) | set;
}

// Four 8 x 8 matrices of 16 bits. extra: transposed.
void load_matrices(Warp& w, const Instruction& i, uint32_t) {
  const int* to = w.code->lists.data() + i.list;
  uint8_t rows[kLanes][16];
  for (int l = 0; l < kLanes; ++l) {
    const uint64_t address = address_of(w, i, l);
    if (address % 16 != 0) fault(w, "ldmatrix: a row that is not aligned to 16 bytes", l);
    std::memcpy(rows[l], shared_at(w, l, address, 16, false, true), 16);
  }
  for (int m = 0; m < i.count; ++m)
    for (int l = 0; l < kLanes; ++l) {
      uint16_t pair[2];
      for (int k = 0; k < 2; ++k) {
        const int row = i.extra ? l % 4 * 2 + k : l / 4, column = i.extra ? l / 4 : l % 4 * 2 + k;
        std::memcpy(&pair[k], rows[m * 8 + row] + column * 2, 2);
      }
      w.u32(to[m])[l] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    }
}

inline float bf16_at(uint32_t pair, int which) {
  return std::bit_cast<float>(which ? pair & 0xffff0000u : pair << 16);
}

// m16n8k16: list: d 4, a 4, b 2, c 4
void multiply(Warp& w, const Instruction& i, uint32_t) {
  const int* at = w.code->lists.data() + i.list;
  float a[16][16], b[8][16], c[16][8];
  for (int l = 0; l < kLanes; ++l) {
    const int g = l / 4, t = l % 4 * 2;
    for (int k = 0; k < 2; ++k) {
      a[g][t + k] = bf16_at(w.u32(at[4])[l], k);
      a[g + 8][t + k] = bf16_at(w.u32(at[5])[l], k);
      a[g][t + 8 + k] = bf16_at(w.u32(at[6])[l], k);
      a[g + 8][t + 8 + k] = bf16_at(w.u32(at[7])[l], k);
      b[g][t + k] = bf16_at(w.u32(at[8])[l], k);
      b[g][t + 8 + k] = bf16_at(w.u32(at[9])[l], k);
      c[g][t + k] = std::bit_cast<float>(w.u32(at[10 + k])[l]);
      c[g + 8][t + k] = std::bit_cast<float>(w.u32(at[12 + k])[l]);
    }
  }
  for (int r = 0; r < 16; ++r)
    for (int n = 0; n < 8; ++n) {
      double sum = c[r][n];
      for (int k = 0; k < 16; ++k) sum += static_cast<double>(a[r][k]) * b[n][k];
      c[r][n] = static_cast<float>(sum);
    }
  for (int l = 0; l < kLanes; ++l) {
    const int g = l / 4, t = l % 4 * 2;
    for (int k = 0; k < 2; ++k) {
      w.u32(at[k])[l] = std::bit_cast<uint32_t>(c[g][t + k]);
      w.u32(at[2 + k])[l] = std::bit_cast<uint32_t>(c[g + 8][t + k]);
    }
  }
}

// A later access that is to be seen: lanes of a warp meet.
void meet(Warp& w, const Instruction&, uint32_t) { go_on(w); }

// griddepcontrol.wait
void wait_for_earlier_kernels(Warp& w, const Instruction&, uint32_t lanes) { w.early &= ~lanes; }

// cp.async: list: shared, global, bytes read or -1
void copy_later(Warp& w, const Instruction& i, uint32_t lanes) {
  const int* at = w.code->lists.data() + i.list;
  each_lane(lanes, [&](int l) {
    const uint32_t to = w.u32(at[0])[l];
    const uint64_t from = w.u64(at[1])[l];
    const uint32_t read = at[2] >= 0 ? w.u32(at[2])[l] : 16;
    if (to % 16 != 0 || from % 16 != 0)
      fault(w, "cp.async: an address that is not aligned to 16 bytes", l);
    if (read > 16) fault(w, "cp.async: more bytes than are copied", l);
    check_not_early(w, l);
    w.open[l].push_back({to, from, read});
  });
}
void commit_copies(Warp& w, const Instruction&, uint32_t lanes) {
  each_lane(lanes, [&](int l) {
    w.groups[l].push_back(std::move(w.open[l]));
    w.open[l].clear();
  });
}
void wait_for_copies(Warp& w, const Instruction& i, uint32_t lanes) {
  each_lane(lanes, [&](int l) {
    while (w.groups[l].size() > i.extra) {
      for (const LaneCopy& copy : w.groups[l].front()) {
        uint8_t* to = shared_at(w, l, copy.shared, 16, true);
        std::memset(to, 0, 16);
        if (copy.read == 0) continue;
        if (!w.block->cluster->memory->allows(copy.global, copy.read, false))
          fault(w, "cp.async reads global memory that is not its own", l);
        std::memcpy(to, reinterpret_cast<const void*>(copy.global), copy.read);
      }
      w.groups[l].pop_front();
    }
  });
}

}  // namespace ptx

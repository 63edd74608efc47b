// Attention inside windows of 16 x 16 tokens, heads of 64 channels, on wgmma.
//
// A block stays on its multiprocessor and takes units, one head of one window each, until there are
// none. Its first warpgroup gathers a unit's queries, keys and values (96 KB) through the index map
// and writes them to one of two places in shared memory, swizzled, while the others work on the
// other place: queries and keys through registers, where they are turned; values are copied past
// them. Each of the others takes 64 queries at a time: their logits against all 256 keys, two
// numbers of 64 a thread in registers, become powers and the left operand of the second product
// without leaving them, so there is no online softmax. A window's tokens form a rectangle, so its
// queries are packed without the padding and tiles of padding are not run. Bound by the tensor
// cores and as much by the exponentials.
#pragma once

#include "../attention/attend.h"
#include "roles.h"

namespace hrsam::cuda {

struct HopperWindow {
  static constexpr int kSide = 16, kCount = kSide * kSide, kD = 64;
  static constexpr int kRowBytes = kD * 2, kPieces = kRowBytes / 16;
  static constexpr int kPartBytes = kCount * kRowBytes;  // queries, keys or values
  static constexpr int kStageBytes = 3 * kPartBytes;
  static constexpr uint32_t kStages = 2;
  static constexpr int kTile = 64;  // queries
  static constexpr size_t kSharedBytes =
      kSwizzleBytes + kStages * kStageBytes + 2 * kStages * sizeof(uint64_t);
  static constexpr int kProducerRegisters = 88, kConsumerRegisters = 208;
  static constexpr int kBatch = 8;  // rows that a thread reads before it writes the first
};

struct HopperWindowShared {
  unsigned char* ring;
  uint64_t *full, *empty;
  HRSAM_DEVICE HopperWindowShared() : ring(swizzled_memory()) {
    full = reinterpret_cast<uint64_t*>(ring + HopperWindow::kStages * HopperWindow::kStageBytes);
    empty = full + HopperWindow::kStages;
  }
  HRSAM_DEVICE void make() const {
    for (uint32_t i = 0; i < HopperWindow::kStages; ++i) {
      make_barrier(full + i, kWarpgroup);
      make_barrier(empty + i, kConsumers * kWarpgroup / kWarp);
    }
    publish_barriers();
  }
  // 0: queries, 1: keys, 2: values.
  HRSAM_DEVICE unsigned char* part(int stage, int which) const {
    return ring + stage * HopperWindow::kStageBytes + which * HopperWindow::kPartBytes;
  }
};

// One head of one window, and the rectangle of its positions that are tokens.
struct TokenWindow {
  int top, left, rows, columns;
  int width;            // of the grid, in tokens
  int64_t first_token;  // of the batch, at position (0, 0), were it one
  int head;

  HRSAM_DEVICE TokenWindow(const WindowCall& call, uint32_t index) {
    const Geometry& g = call.geometry;
    const auto heads = static_cast<uint32_t>(call.heads),
               windows = static_cast<uint32_t>(g.windows);
    head = static_cast<int>(index % heads);
    index /= heads;
    const WindowPlace place = place_window(g, index % windows);
    const Scale& scale = *place.scale;
    const int y = place.top - g.before, x = place.left - g.before;
    top = y < 0 ? -y : 0;
    left = x < 0 ? -x : 0;
    rows = (scale.h - y < HopperWindow::kSide ? scale.h - y : HopperWindow::kSide) - top;
    columns = (scale.w - x < HopperWindow::kSide ? scale.w - x : HopperWindow::kSide) - left;
    width = scale.w;
    first_token =
        index / windows * g.tokens + scale.first_token + static_cast<int64_t>(y) * scale.w + x;
  }
  HRSAM_DEVICE bool is_whole() const { return queries() == HopperWindow::kCount; }
  HRSAM_DEVICE int queries() const { return rows * columns; }
  HRSAM_DEVICE int64_t token(int row, int column) const {
    return first_token + static_cast<int64_t>(row) * width + column;
  }
  HRSAM_DEVICE int64_t token_of_query(int slot) const {
    if (is_whole()) return token(slot / HopperWindow::kSide, slot % HopperWindow::kSide);
    return token(top + slot / columns, left + slot % columns);
  }
  HRSAM_DEVICE bool holds(int row, int column) const {
    return row >= top && row < top + rows && column >= left && column < left + columns;
  }
};

// What one thread of the first warpgroup brings: a piece of eight channels of a column of the
// window, row after row.
class HopperGatherer {
 public:
  HRSAM_DEVICE HopperGatherer(const WindowCall& call, const Rope& rope)
      : call_(call),
        column_(static_cast<int>(threadIdx.x) / HopperWindow::kPieces),
        piece_(static_cast<int>(threadIdx.x) % HopperWindow::kPieces) {
    // The first half of the channels turns with the row, the other with the column.
    const int channel = piece_ * 8;
    const bool by_row = channel < rope.half;
    row_turns_ = by_row ? rope.half / 4 : 0;
    turns_ = rope.table == nullptr
                 ? nullptr
                 : reinterpret_cast<const float4*>(rope.table) +
                       (by_row ? channel : column_ * rope.half + channel - rope.half) / 4;
  }

  // A window's queries, keys and values to shared memory. kWhole: none of its positions is padding.
  template <bool kWhole>
  HRSAM_DEVICE void bring(const TokenWindow& window, unsigned char* to) const {
    using H = HopperWindow;
    // Nothing turns values: they need no registers, and come while the others do.
    Column values(*this, window, 2);
#pragma unroll
    for (int row = 0; row < H::kSide; ++row, values.next())
      copy_async(place(to + 2 * H::kPartBytes, row * H::kSide + column_),
                 values.at<kWhole>(window, row), true);
    commit_copies();
#pragma unroll 1
    for (int which = 0; which < 2; ++which)
      bring_turned<kWhole>(window, which, to + which * H::kPartBytes);
    wait_for_copies<0>();
  }

 private:
  // Where a thread's pieces of a column of the window begin, row after row.
  struct Column {
    const bf16 *token, *padding;
    int64_t step;
    int column;
    HRSAM_DEVICE Column(const HopperGatherer& of, const TokenWindow& window, int which)
        : column(of.column_) {
      const WindowCall& call = of.call_;
      const int channels = call.heads * HopperWindow::kD;
      const int first = which * channels + window.head * HopperWindow::kD + of.piece_ * 8;
      step = static_cast<int64_t>(window.width) * 3 * channels;
      token = static_cast<const bf16*>(call.qkv) + first + window.token(0, column) * 3 * channels;
      padding = call.pad == nullptr ? nullptr : static_cast<const bf16*>(call.pad) + first;
    }
    HRSAM_DEVICE void next() { token += step; }
    template <bool kWhole>
    HRSAM_DEVICE const bf16* at(const TokenWindow& window, int row) const {
      return kWhole || window.holds(row, column) ? token : padding;
    }
  };

  HRSAM_DEVICE unsigned char* place(unsigned char* part, int slot) const {
    return part + slot * HopperWindow::kRowBytes + (piece_ ^ (slot & 7)) * 16;
  }

  // Queries, of which those of padding are left out, or keys.
  template <bool kWhole>
  HRSAM_DEVICE void bring_turned(const TokenWindow& window, int which, unsigned char* to) const {
    using H = HopperWindow;
    Column from(*this, window, which);
#pragma unroll 1
    for (int batch = 0; batch < H::kSide; batch += H::kBatch) {
      uint4 pieces[H::kBatch];
#pragma unroll
      for (int i = 0; i < H::kBatch; ++i, from.next()) {
        pieces[i] = make_uint4(0, 0, 0, 0);
        if (kWhole || which > 0 || window.holds(batch + i, column_))
          pieces[i] = *reinterpret_cast<const uint4*>(from.at<kWhole>(window, batch + i));
      }
#pragma unroll
      for (int i = 0; i < H::kBatch; ++i) {
        const int row = batch + i;
        int slot = row * H::kSide + column_;
        if (!kWhole && which == 0) {
          if (!window.holds(row, column_)) continue;
          slot = (row - window.top) * window.columns + column_ - window.left;
        }
        if (turns_ != nullptr) turn(turns_ + row * row_turns_, pieces[i]);
        *reinterpret_cast<uint4*>(place(to, slot)) = pieces[i];
      }
    }
  }

  // As Rope::rotate, four pairs.
  HRSAM_DEVICE static void turn(const float4* turns, uint4& piece) {
    const float4 first = turns[0], second = turns[1];
    piece.x = turned(first.x, first.y, piece.x);
    piece.y = turned(first.z, first.w, piece.y);
    piece.z = turned(second.x, second.y, piece.z);
    piece.w = turned(second.z, second.w, piece.w);
  }
  HRSAM_DEVICE static uint32_t turned(float cosine, float sine, uint32_t pair) {
    const float x = to_f32(static_cast<bf16>(pair & 0xffff)),
                y = to_f32(static_cast<bf16>(pair >> 16));
    return pack_bf16(fmaf(x, cosine, y * sine), fmaf(y, cosine, -x * sine));
  }

  const WindowCall& call_;
  int column_, piece_, row_turns_;
  const float4* turns_;  // of the window's first row: cosines and sines of two pairs
};

HRSAM_DEVICE void bring_windows(const WindowCall& call, const Rope& rope, uint32_t units,
                                const HopperWindowShared& shared) {
  const HopperGatherer gatherer(call, rope);
  uint32_t turn = 0;
  for (uint32_t unit = blockIdx.x; unit < units; unit += gridDim.x, ++turn) {
    const TokenWindow window(call, unit);
    const Stage stage = stage_of(turn, HopperWindow::kStages);
    wait_for_phase(shared.empty + stage.index, stage.parity ^ 1);
    if (window.is_whole())
      gatherer.bring<true>(window, shared.part(stage.index, 0));
    else
      gatherer.bring<false>(window, shared.part(stage.index, 0));
    show_to_products();
    arrive(shared.full + stage.index);
  }
}

// Logits of 64 queries to powers of two of their differences from the row's largest; the rows'
// totals. Lane l of a warp holds numbers of the rows l / 4 and l / 4 + 8.
HRSAM_DEVICE void softmax_rows(float (&logits)[2][64], float scale, float (&total)[2]) {
#pragma unroll
  for (int low = 0; low < 2; ++low) {
    float largest = kMasked;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < 16; ++j)
        largest =
            fmaxf(largest, fmaxf(logits[half][j * 4 + 2 * low], logits[half][j * 4 + 2 * low + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    const float base = largest * scale;
    float sum = 0;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
      for (int j = 0; j < 16; ++j)
#pragma unroll
        for (int k = 2 * low; k < 2 * low + 2; ++k) {
          float& x = logits[half][j * 4 + k];
          x = exp2_fast(fmaf(x, scale, -base));
          sum += x;
        }
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    total[low] = sum + __shfl_xor_sync(kAllLanes, sum, 2);
  }
}

// 64 queries of a unit, the first one being number `first`.
HRSAM_DEVICE void attend_tile(const TokenWindow& window, int first, const AttendCall& at,
                              int64_t channels, const unsigned char* queries,
                              const unsigned char* keys, const unsigned char* values) {
  using H = HopperWindow;
  float logits[2][64];
  const uint64_t q = operand_at(queries + first * H::kRowBytes);
  begin_products();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint64_t k = operand_at(keys + half * (H::kPartBytes / 2));
#pragma unroll
    for (int step = 0; step < H::kD / 16; ++step)
      multiply_group(logits[half], q + step * 2, k + step * 2, step > 0);
  }
  commit_products();
  wait_for_products<0>();
  settle(logits[0]);
  settle(logits[1]);
  float total[2];
  softmax_rows(logits, at.scale, total);
  uint32_t powers[H::kCount / 16][4];
#pragma unroll
  for (int step = 0; step < H::kCount / 16; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float* pair = logits[step / 8] + step % 8 * 8 + i * 2;
      powers[step][i] = pack_bf16(pair[0], pair[1]);
    }
  float sums[32];
  const uint64_t v = operand_at(values);
  settle(powers);
  begin_products();
#pragma unroll
  for (int step = 0; step < H::kCount / 16; ++step)
    multiply_group(sums, powers[step], v + step * (16 * H::kRowBytes / 16), step > 0);
  commit_products();
  wait_for_products<0>();
  settle(sums);

  const int lane = static_cast<int>(threadIdx.x % kWarp),
            warp = static_cast<int>(threadIdx.x % kWarpgroup / kWarp);
#pragma unroll
  for (int low = 0; low < 2; ++low) {
    const int slot = first + warp * 16 + low * 8 + lane / 4;
    if (slot >= window.queries()) continue;
    const float factor = reciprocal(total[low]);
    const int64_t to = window.token_of_query(slot) * channels + window.head * H::kD + lane % 4 * 2;
    const auto each = [&](auto store) {
#pragma unroll
      for (int j = 0; j < H::kD / 8; ++j)
        store(j * 8, sums[j * 4 + 2 * low] * factor, sums[j * 4 + 2 * low + 1] * factor);
    };
    if (at.out_is_bf16)
      each([out = static_cast<bf16*>(at.out) + to](int channel, float x, float y) {
        *reinterpret_cast<uint32_t*>(out + channel) = pack_bf16(x, y);
      });
    else
      each([out = static_cast<float*>(at.out) + to](int channel, float x, float y) {
        *reinterpret_cast<float2*>(out + channel) = make_float2(x, y);
      });
  }
}

__global__ void __launch_bounds__(kHopperThreads, 1)
    hopper_window_kernel(const __grid_constant__ WindowCall call,
                         const __grid_constant__ AttendCall at, uint32_t units) {
  using H = HopperWindow;
  const HopperWindowShared shared;
  if (threadIdx.x == 0) shared.make();
  __syncthreads();
  wait_for_earlier_kernels();
  if (threadIdx.x < kWarpgroup) {
    give_registers<H::kProducerRegisters>();
    bring_windows(call, at.rope, units, shared);
    return;
  }
  take_registers<H::kConsumerRegisters>();
  const int own = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  uint32_t turn = 0;
  for (uint32_t unit = blockIdx.x; unit < units; unit += gridDim.x, ++turn) {
    const TokenWindow window(call, unit);
    const Stage stage = stage_of(turn, H::kStages);
    wait_for_phase(shared.full + stage.index, stage.parity);
#pragma unroll 1
    for (int first = own * H::kTile; first < window.queries(); first += kConsumers * H::kTile)
      attend_tile(window, first, at, static_cast<int64_t>(call.heads) * H::kD,
                  shared.part(stage.index, 0), shared.part(stage.index, 1),
                  shared.part(stage.index, 2));
    __syncwarp();  // where there was no tile, lanes may still wait
    if (threadIdx.x % kWarp == 0) arrive(shared.empty + stage.index);
  }
}

}  // namespace hrsam::cuda

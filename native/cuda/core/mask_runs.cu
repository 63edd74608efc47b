// Area, box and run lengths of binary masks, found on the device: the host gets a few kilobytes
// instead of all pixels.
//
// Masks lie in rows, runs go down the columns. A thread owns a column of a band of kBand rows, so
// neighbours read neighbouring bytes: it counts where runs begin, and when it is known how many
// begin before, in the column and in the columns before, writes their positions in order. Whole
// numbers, no atomics. Bound by reading the masks twice, from the L2 cache where they fit.
#include "mask_runs.h"

#include <vector>

#include "kernel.h"

namespace hrsam::cuda {

namespace {

constexpr int64_t kBand = 64;
constexpr int kSumThreads = 256;

// Of a column of a band, then of a column.
struct Cell {
  uint32_t begins;  // runs; later those that begin before
  uint32_t area;
  int32_t top, bottom;  // rows that are set; top > bottom: none
};
constexpr Cell kNothing{0, 0, INT32_MAX, -1};

HRSAM_BOTH void join(Cell& a, const Cell& b) {
  a.begins += b.begins;
  a.area += b.area;
  a.top = b.top < a.top ? b.top : a.top;
  a.bottom = b.bottom > a.bottom ? b.bottom : a.bottom;
}

struct Summary {
  int64_t area;
  int64_t first;  // of its positions among all masks'
  int32_t box[4];
  uint32_t begins;
  uint32_t unused;  // no byte that is copied is unwritten
};

struct Masks {
  const uint8_t* pixels;
  int64_t count, height, width, bands;

  // visit(row, is set, whether a run begins there) for a column's rows of a band.
  template <class Visit>
  HRSAM_DEVICE void walk(int64_t mask, int64_t x, int64_t band, Visit&& visit) const {
    const uint8_t* column = pixels + mask * height * width + x;
    const int64_t begin = band * kBand, end = smaller(height, begin + kBand);
    // The pixel before a column's first is the last of the column before it.
    bool last = begin > 0 ? column[(begin - 1) * width] != 0
                : x > 0   ? column[(height - 1) * width - 1] != 0
                          : false;
#pragma unroll 8
    for (int64_t y = begin; y < end; ++y) {
      const bool set = column[y * width] != 0;
      visit(y, set, set != last);
      last = set;
    }
  }
};

struct CountCells {
  Masks masks;
  Cell* cells;  // [mask][band][column]
  HRSAM_DEVICE void operator()(int64_t i) const {
    Cell cell = kNothing;
    masks.walk(i / (masks.width * masks.bands), i % masks.width, i / masks.width % masks.bands,
               [&](int64_t y, bool set, bool begins) {
                 cell.begins += begins;
                 if (!set) return;
                 ++cell.area;
                 if (cell.bottom < 0) cell.top = static_cast<int32_t>(y);
                 cell.bottom = static_cast<int32_t>(y);
               });
    cells[i] = cell;
  }
};

struct SumColumns {
  Masks masks;
  Cell *cells, *columns;  // [mask][column]
  HRSAM_DEVICE void operator()(int64_t i) const {
    Cell* cell = cells + i / masks.width * masks.bands * masks.width + i % masks.width;
    Cell sum = kNothing;
    for (int64_t band = 0; band < masks.bands; ++band, cell += masks.width) {
      const Cell own = *cell;
      cell->begins = sum.begins;
      join(sum, own);
    }
    columns[i] = sum;
  }
};

// Some neighbouring columns of a mask.
struct Part {
  int64_t area;
  Cell cell;
  int32_t left, right;
};

// A block owns a mask, a thread a part of it.
__global__ void __launch_bounds__(kSumThreads)
    sum_masks_kernel(const __grid_constant__ Masks masks, Cell* all, Summary* summaries) {
  wait_for_earlier_kernels();
  auto* parts = static_cast<Part*>(shared_memory());
  Cell* columns = all + blockIdx.x * masks.width;
  const int64_t each = divide_up(masks.width, kSumThreads);
  const int64_t begin = smaller(masks.width, threadIdx.x * each),
                end = smaller(masks.width, begin + each);
  Part own{0, kNothing, INT32_MAX, -1};
  for (int64_t x = begin; x < end; ++x) {
    const Cell column = columns[x];
    own.area += column.area;
    join(own.cell, column);
    if (column.area == 0) continue;
    if (own.right < 0) own.left = static_cast<int32_t>(x);
    own.right = static_cast<int32_t>(x);
  }
  parts[threadIdx.x] = own;
  __syncthreads();
  uint32_t before = 0;
  for (unsigned t = 0; t < threadIdx.x; ++t) before += parts[t].cell.begins;
  for (int64_t x = begin; x < end; ++x) {
    const uint32_t begins = columns[x].begins;
    columns[x].begins = before;
    before += begins;
  }
  if (threadIdx.x != 0) return;
  Part sum = own;
  for (int t = 1; t < kSumThreads; ++t) {
    const Part& part = parts[t];
    sum.area += part.area;
    join(sum.cell, part.cell);
    if (part.left < sum.left) sum.left = part.left;
    if (part.right > sum.right) sum.right = part.right;
  }
  Summary made{sum.area, 0, {}, sum.cell.begins, 0};
  if (sum.area > 0) {
    made.box[0] = sum.left;
    made.box[1] = sum.cell.top;
    made.box[2] = sum.right;
    made.box[3] = sum.cell.bottom;
  }
  summaries[blockIdx.x] = made;
}

// One thread for all masks.
struct PlaceMasks {
  Summary* summaries;
  int64_t count;
  HRSAM_DEVICE void operator()(int64_t) const {
    int64_t first = 0;
#pragma unroll 8
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t begins = summaries[i].begins;
      summaries[i].first = first;
      first += begins;
    }
  }
};

struct WriteBegins {
  Masks masks;
  const Cell *cells, *columns;
  const Summary* summaries;
  uint32_t* positions;
  HRSAM_DEVICE void operator()(int64_t i) const {
    const int64_t mask = i / (masks.width * masks.bands), x = i % masks.width;
    uint32_t* to = positions + summaries[mask].first + columns[mask * masks.width + x].begins +
                   cells[i].begins;
    masks.walk(mask, x, i / masks.width % masks.bands, [&](int64_t y, bool, bool begins) {
      if (begins) *to++ = static_cast<uint32_t>(x * masks.height + y);
    });
  }
};

}  // namespace

void mask_runs(hrsam_buffer* buffer, int64_t count, int64_t height, int64_t width,
               hrsam_take_mask take, void* context) {
  hrsam_device* device = buffer->device;
  gpu::select(device->ordinal);
  const Masks masks{reinterpret_cast<const uint8_t*>(buffer->data()), count, height, width,
                    divide_up(height, kBand)};
  const int64_t columns = count * width, cells = columns * masks.bands;
  // Not behind a run that is under way.
  const cudaStream_t stream = device->streams[device->idle_stream()];
  const auto cached = [&](int64_t bytes) {
    return DeviceBlock(device, MemoryKind::cached, static_cast<size_t>(bytes));
  };
  const DeviceBlock cell_block = cached((cells + columns) * static_cast<int64_t>(sizeof(Cell)));
  Cell* const cell_data = cell_block.as<Cell>();
  Cell* const column_data = cell_data + cells;
  const DeviceBlock summary_block = cached(count * static_cast<int64_t>(sizeof(Summary)));
  Summary* const summary_data = summary_block.as<Summary>();
  const Settled settled(stream);
  each(stream, cells, CountCells{masks, cell_data});
  each(stream, columns, SumColumns{masks, cell_data, column_data});
  launch(
      {dim3(static_cast<unsigned>(count)), dim3(kSumThreads), kSumThreads * sizeof(Part), stream},
      sum_masks_kernel, masks, column_data, summary_data);
  each(stream, 1, PlaceMasks{summary_data, count});
  gpu::wait(stream);
  std::vector<Summary> summaries(static_cast<size_t>(count));
  device->transfers.download(summaries.data(), summary_data, summaries.size() * sizeof(Summary));

  const int64_t total = count > 0 ? summaries.back().first + summaries.back().begins : 0;
  std::vector<uint32_t> positions(static_cast<size_t>(total));
  if (total > 0) {
    const DeviceBlock block = cached(total * static_cast<int64_t>(sizeof(uint32_t)));
    const Settled written(stream);
    each(stream, cells,
         WriteBegins{masks, cell_data, column_data, summary_data, block.as<uint32_t>()});
    gpu::wait(stream);
    device->transfers.download(positions.data(), block.as<void>(),
                               positions.size() * sizeof(uint32_t));
  }
  for (const Summary& each : summaries) {
    hrsam_mask mask{each.area, {}, positions.data() + each.first, each.begins};
    for (int i = 0; i < 4; ++i) mask.box[i] = each.box[i];
    take(context, &mask);
  }
}

}  // namespace hrsam::cuda

#include "counts.h"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "instructions.h"
#include "tensor_boxes.h"

namespace ptx {

namespace {

// An H200: multiprocessors, cycles a microsecond.
constexpr double kProcessors = 132, kCyclesPerMicrosecond = 1755;
// Bytes a cycle that a multiprocessor gets of the second-level cache: 5.5 TB/s in all.
constexpr double kSecondBytes = 24;
const char* const kUnitNames[] = {"issue", "fma", "int", "mufu", "shared", "L1", "L2", "tensor"};

bool begins(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }
bool holds(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

struct Cost {
  double issue = 1;
  Unit unit = Unit::whole;
  double cycles = 0.5;  // of that unit, for a warp
};

// Cycles a multiprocessor's unit is busy, by the programming guide's table of throughputs (compute
// capability 9.0): 128 multiply-adds a cycle in f32, 64 operations on whole numbers, 16 special
// functions.
Cost cost_of(const std::string& op) {
  const bool wide = op.ends_with("64"), real = op.ends_with("f32") || op.ends_with("f64");
  if (begins(op, "mov") || begins(op, "ld.param") || begins(op, "cvta") || begins(op, "prefetch") ||
      begins(op, "griddepcontrol") || begins(op, "mbarrier.try"))
    return {0, Unit::none, 0};
  if (begins(op, "ld") || begins(op, "st") || begins(op, "cp.") || begins(op, "bar") ||
      begins(op, "mbarrier") || begins(op, "fence") || begins(op, "wgmma") || begins(op, "mma") ||
      begins(op, "setmaxnreg") || begins(op, "bra") || begins(op, "ret"))
    return {1, Unit::none, 0};
  if (begins(op, "shfl")) return {1, Unit::shared, 1};
  if (begins(op, "ex2") || begins(op, "rcp.approx")) return {1, Unit::special, 2};
  if (begins(op, "div") || begins(op, "rem"))
    return {wide ? 70. : 16., Unit::whole, wide ? 35. : 8.};
  if (begins(op, "sqrt") || begins(op, "rcp")) return {8, Unit::multiply, 2};
  if (op.ends_with("f64")) return {1, Unit::multiply, 0.5};
  if (begins(op, "fma") || (real && (begins(op, "add") || begins(op, "sub") || begins(op, "mul"))))
    return {1, Unit::multiply, 0.25};
  if (begins(op, "mad") || begins(op, "mul"))
    return {wide ? 4. : 1., Unit::multiply, wide ? 2. : 0.5};
  if (wide) return {2, Unit::whole, 1};
  return {};
}

// Bytes that a lane loads or stores.
uint32_t bytes_of(const std::string& op) {
  const size_t type = op.find_last_of('.');
  const uint32_t element = static_cast<uint32_t>(std::stoul(op.substr(type + 2))) / 8;
  return element * (holds(op, ".v4.") ? 4 : holds(op, ".v2.") ? 2 : 1);
}

std::string readable(const std::string& mangled) {
  int status = 0;
  char* made = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  std::string name = status == 0 ? made : mangled;
  std::free(made);
  for (const char* part : {"hrsam::cuda::", "(anonymous namespace)::", "void "})
    for (size_t at; (at = name.find(part)) != std::string::npos;)
      name.erase(at, std::char_traits<char>::length(part));
  int depth = 0;
  for (size_t k = 0; k < name.size(); ++k) {  // without the parameters
    depth += name[k] == '<' ? 1 : name[k] == '>' ? -1 : 0;
    if (depth == 0 && name[k] == '(') return name.substr(0, k);
  }
  return name;
}

}  // namespace

Counts* Counts::wanted() {
  static const std::string path = [] {
    const char* value = std::getenv("HRSAM_PTX_COUNTS");
    const std::string given = value == nullptr ? "" : value;
    return std::filesystem::is_directory(given) ? given + "/" + std::to_string(getpid()) + ".txt"
                                                : given;
  }();
  static Counts* const made = [] {
    if (path.empty()) return static_cast<Counts*>(nullptr);
    static Counts counts;
    if (const char* sample = std::getenv("HRSAM_PTX_SAMPLE"))
      counts.sample = std::strtoull(sample, nullptr, 10);
    std::atexit([] {
      if (std::FILE* file = std::fopen(path.c_str(), "w")) {
        std::fputs(counts.report().c_str(), file);
        std::fclose(file);
      }
    });
    return &counts;
  }();
  return made;
}

void Counts::begin(const Launch& launch, double weight) {
  kernel_ = &kernels_[launch.code.get()];
  kernel_->code = launch.code;
  kernel_->lines.resize(launch.code->instructions.size());
  kernel_->launches += 1;
  kernel_->blocks += double{1} * launch.grid.x * launch.grid.y * launch.grid.z;
  weight_ = weight;
  std::fill(std::begin(now_), std::end(now_), 0);
}

void Counts::end(const Launch& launch) {
  const double blocks = double{1} * launch.grid.x * launch.grid.y * launch.grid.z;
  // Blocks go round by round, the last round's few as long as the others'.
  const double share = std::ceil(blocks / kProcessors) / blocks;
  for (int k = 0; k < kUnits; ++k) kernel_->cycles[k] += now_[k] * share;
}

// Words of four bytes in different rows of a bank come one after the other; lanes with 8 or 16
// bytes each by halves or quarters of the warp.
void Counts::shared(const std::vector<uint64_t>& at, uint32_t bytes, Kernel::Line& line) {
  const size_t together = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  double passes = 0, fewest = 0;
  for (size_t first = 0; first < at.size(); first += together) {
    std::unordered_set<uint64_t> words;
    int rows[32] = {}, most = 0;
    for (size_t k = first; k < std::min(first + together, at.size()); ++k)
      for (uint32_t b = 0; b < std::max(bytes, 4u); b += 4) {
        const uint64_t word = (at[k] + b) / 4;
        if (words.insert(word).second) most = std::max(most, ++rows[word % 32]);
      }
    passes += most;
    ++fewest;
  }
  line.passes += passes * weight_;
  line.fewest += fewest * weight_;
  spend(Unit::shared, passes);
}

void Counts::global(const std::vector<uint64_t>& at, uint32_t bytes, Kernel::Line& line) {
  std::unordered_set<uint64_t> sectors, rows, touched;
  for (const uint64_t from : at) {
    for (uint64_t sector = from / 32; sector <= (from + bytes - 1) / 32; ++sector) {
      sectors.insert(sector);
      rows.insert(sector / 4);
    }
    for (uint32_t b = 0; b < bytes; b += 2) touched.insert((from + b) / 2);
  }
  for (const uint64_t sector : sectors)
    if (seen_.insert(sector).second) spend(Unit::second, 32 / kSecondBytes);
  line.sectors += static_cast<double>(sectors.size()) * weight_;
  line.needed += std::ceil(static_cast<double>(touched.size()) / 16) * weight_;
  spend(Unit::first, static_cast<double>(rows.size()));
}

void Counts::add(Warp& warp, uint32_t pc, uint32_t lanes) {
  const Instruction& at = warp.code->instructions[pc];
  const std::string& op = warp.code->opcodes[pc];
  Kernel::Line& line = kernel_->lines[pc];
  const Cost cost = cost_of(op);
  line.issued += cost.issue * weight_;
  line.lanes += std::popcount(lanes) * weight_;
  spend(Unit::issue, cost.issue / 4);
  if (cost.unit != Unit::none) spend(cost.unit, cost.cycles);
  if (lanes == 0) return;

  std::vector<uint64_t> places;
  const auto lists = warp.code->lists.data() + at.list;
  if (at.run == &load_matrices) {
    for (int l = 0; l < 8 * at.count; ++l) places.push_back(address_of(warp, at, l));
    shared(places, 16, line);
  } else if (at.run == &multiply) {
    spend(Unit::tensor, 2);  // half of what wgmma reaches
  } else if (at.run == &multiply_group) {
    const double columns = static_cast<double>(at.extra & 0xffff);
    spend(Unit::tensor, columns / 8);
    const double passes = columns / 16 + (at.extra >> 16 & 1 ? 0 : 4);  // b is read for four warps
    spend(Unit::shared, passes);
    line.passes += passes * weight_;
    line.fewest += passes * weight_;
  } else if (at.run == &copy_later) {
    each_lane(lanes, [&](int l) { places.push_back(warp.u32(lists[0])[l]); });
    shared(places, 16, line);
    places.clear();
    each_lane(lanes, [&](int l) {
      if (lists[2] < 0 || warp.u32(lists[2])[l] != 0) places.push_back(warp.u64(lists[1])[l]);
    });
    global(places, 16, line);
  } else if (at.run == &copy_box) {
    each_lane(lanes, [&](int l) {
      TensorBoxes map;
      std::memcpy(&map, reinterpret_cast<const void*>(warp.u64(lists[1])[l]), sizeof(map));
      const int blocks = lists[6] < 0 ? 1 : std::popcount(warp.u32(lists[6])[l] & 0xffff);
      spend(Unit::shared, map.rows * blocks);  // lines of 128 bytes
      spend(Unit::second, map.rows * 128 / kSecondBytes);
    });
  } else if ((begins(op, "ld.") || begins(op, "st.")) && !holds(op, ".param") &&
             !holds(op, ".local")) {
    const uint32_t bytes = bytes_of(op);
    bool in_shared = holds(op, ".shared");
    each_lane(lanes, [&](int l) { places.push_back(address_of(warp, at, l)); });
    in_shared |= !holds(op, ".global") && (places[0] & kSharedWindow) != 0;
    if (in_shared)
      shared(places, bytes, line);
    else
      global(places, bytes, line);
  }
}

std::vector<const Counts::Kernel*> Counts::kernels() const {
  std::vector<const Kernel*> all;
  for (const auto& [code, kernel] : kernels_) all.push_back(&kernel);
  return all;
}

std::string Counts::report() const {
  std::vector<const Kernel*> order = kernels();
  double total = 0;
  const auto busiest = [](const Kernel& kernel) {
    return static_cast<int>(std::max_element(kernel.cycles, kernel.cycles + kUnits) -
                            kernel.cycles);
  };
  const auto time = [&](const Kernel& kernel) {
    return kernel.cycles[busiest(kernel)] / kCyclesPerMicrosecond;
  };
  for (const Kernel* kernel : order) total += time(*kernel);
  std::sort(order.begin(), order.end(),
            [&](const Kernel* a, const Kernel* b) { return time(*a) > time(*b); });
  std::string made;
  char row[1024];
  const auto print = [&](auto... values) {
    std::snprintf(row, sizeof(row), values...);
    made += row;
  };
  print(
      "At least %.0f us on an H200, counted and not measured: each kernel's busiest unit, and how\n"
      "busy the others are meanwhile. Below it, accesses to shared memory (passes) and global\n"
      "memory (sectors) that take more than their bytes need, and whose share of all it is.\n",
      total);
  print("%9s %5s %8s %9s %6s ", "us", "%", "launches", "blocks", "bound");
  for (const char* name : kUnitNames) print(" %6s", name);
  print("  kernel\n");
  for (const Kernel* kernel : order) {
    const int most = busiest(*kernel);
    print("%9.1f %5.1f %8.0f %9.0f %6s ", time(*kernel), 100 * time(*kernel) / total,
          kernel->launches, kernel->blocks, kUnitNames[most]);
    for (const double cycles : kernel->cycles)
      print(" %5.0f%%", 100 * cycles / std::max(kernel->cycles[most], 1.));
    print("  %s\n", readable(kernel->code->name).c_str());
    double passes = 0, sectors = 0;
    for (const auto& line : kernel->lines) {
      passes += line.passes;
      sectors += line.sectors;
    }
    const auto tell = [&](size_t pc, const char* what, double taken, double fewest, double all) {
      if (taken - fewest <= 0.03 * all) return;
      const double times = kernel->lines[pc].issued;
      print("%44s%.1f %s for %.1f, %.0f%% of all: %s, %s\n", "", taken / times, what,
            fewest / times, 100 * taken / all, kernel->code->opcodes[pc].c_str(),
            kernel->code->where(pc).c_str());
    };
    for (size_t pc = 0; pc < kernel->lines.size(); ++pc) {
      const auto& line = kernel->lines[pc];
      tell(pc, "passes", line.passes, line.fewest, passes);
      tell(pc, "sectors", line.sectors, line.needed, sectors);
    }
  }
  return made;
}

}  // namespace ptx

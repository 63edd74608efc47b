// A GPU that interprets PTX, so that what nvcc made of the kernels runs where there is no GPU:
// inline PTX, launches, shared memory and all. See the PTX manual ("Parallel Thread Execution
// ISA").
//
// A warp's lanes have a program counter each; those at the lowest go first, and so meet again.
// Blocks run one after the other, a cluster's together, their warps in turns chosen by a seeded
// generator (HRSAM_PTX_SEED). Copies to shared memory come as late as they may. What PTX leaves
// undefined, and hardware lets pass now and then, is an error that says where: memory that is not
// the kernel's, unaligned addresses, lanes and warps that wait in vain, shared memory that one warp
// or lane touches after another with nothing between them, global memory that it reads or writes
// after another has written it (HRSAM_PTX_RACES=0: both are not looked for), products (wgmma) whose
// operands are not fenced, whose sums are read too early or of which a warpgroup's warps do not
// agree, registers that others wait for and no one gives back (setmaxnreg), mbarriers whose phases
// may pass a late lane by, kernels started early (programmatic dependent launch) that touch global
// memory or end before they have waited for the kernel before them.
//
// counts.h tells what kernels ask of a GPU's units.
//
// Not seen: global memory that one writes after another has read it, what ptxas makes of PTX, time.
// Approximate functions are exact.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "module.h"

namespace ptx {

constexpr int kLanes = 32;
constexpr uint32_t kAll = 0xffffffffu;

// Where a block's shared memory begins: after what Hopper keeps for itself, aligned as declared (to
// 128 bytes) and no better.
constexpr uint32_t kSharedBase = 1024 + 128;

// Generic addresses of what is not global memory.
constexpr uint64_t kSharedWindow = uint64_t{1} << 60, kLocalWindow = uint64_t{1} << 61;
// Blocks of a cluster see each other's shared memory this far apart.
constexpr uint32_t kBlockWindow = 1u << 24;

struct Warp;
struct Instruction;
using Run = void (*)(Warp&, const Instruction&, uint32_t lanes);

enum class Control : uint8_t { none, branch, leave, together, barrier, cluster_wait, trap };

struct Instruction {
  Run run = nullptr;
  Control control = Control::none;
  bool guard_not = false;
  uint8_t count = 1;    // of a vector's elements
  bool narrow = false;  // the address register has 32 bits
  int guard = -1;
  int d = -1, a = -1, b = -1, c = -1;  // registers' places
  int list = 0;                        // in Code::lists
  int64_t offset = 0;                  // of an address; a branch's target
  uint64_t extra = 0;
  int line = 0;
};

struct Code {
  std::string name, target;
  std::vector<std::string> opcodes;
  std::vector<Source> places;  // by instruction
  std::shared_ptr<const std::map<int, std::string>> files;
  int most_threads = 0;
  // A thread's at its launch, all that .maxntid and .minnctapersm leave it, as ptxas takes them
  // where setmaxnreg moves them later; 0 where those do not say.
  int registers = 0;
  std::vector<Instruction> instructions;
  std::vector<int> lists;
  std::vector<bool> is_move;
  std::vector<std::vector<int>> sources,
      results;  // registers, by instruction; of kernels with products
  struct Constant {
    int at;
    uint64_t value;
    bool wide;
  };
  std::vector<Constant> constants;
  int words = 0, predicates = 0;  // of the register file
  int special[16] = {};           // tid.x … by Special
  struct Parameter {
    size_t offset, bytes;
  };
  std::vector<Parameter> parameters;
  size_t parameter_bytes = 0, local_bytes = 0, static_shared = 0;
  int parameter_base = 0;  // register that holds where they are
  bool uses_products = false;
  // The line of PTX and, where it is known, of CUDA.
  std::string where(size_t instruction) const;
  int shared_shift =
      2;  // shared memory is watched in pieces of 4 bytes, or 2 where halves are used
};

struct Dim {
  uint32_t x = 1, y = 1, z = 1;
};

struct Launch {
  std::shared_ptr<const Code> code;
  Dim grid, block;
  size_t shared_bytes = 0;
  unsigned cluster = 1;
  bool early = false;  // the kernel before it may still run
  std::vector<uint8_t> parameters;
};

struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Global memory: what may be touched.
class Memory {
 public:
  void add(void* begin, size_t bytes, bool writable = true);
  void remove(void* begin);
  bool allows(uint64_t address, size_t bytes, bool write);

 private:
  struct Range {
    uint64_t end;
    bool writable;
  };
  std::map<uint64_t, Range> ranges_;
  uint64_t begin_ = 1, end_ = 0;
  bool last_writable_ = false;
};

std::shared_ptr<const Code> decode(const Function& function,
                                   const std::map<std::string, uint64_t>& globals);

class Counts;
void run(const Launch& launch, Memory& memory, uint64_t seed, Counts* counts = nullptr);

// ---- while it runs
// -------------------------------------------------------------------------------

// What has happened before, as each warp of the cluster knows it.
using Clock = std::vector<uint32_t>;

struct Barrier {  // an mbarrier
  uint32_t expected = 0, pending = 0, phase = 0;
  int hidden_by = -1;  // the warp that made it and has not fenced that yet
  int64_t bytes = 0;
  Clock known;
  Clock seen;  // by warp: its clock + 1 when it last found a phase ended
};

struct Access {
  uint16_t warp = 0xffff, lane = 0;
  uint32_t clock = 0;
  bool operator==(const Access&) const = default;
};
constexpr uint16_t kSeveralLanes = 0xffff;
struct Touched {
  Access write, read;
  int many = -1;  // readers that know nothing of each other: where their clocks are
};

// Who wrote 16 bytes of global memory last in this launch, by pairs of bytes.
struct Written {
  Access by[8];
  uint32_t cluster[8] = {};
};

struct NamedBarrier {
  int arrived = 0, needed = 0;
  std::vector<Warp*> waiting;
};

struct Block;

struct BoxCopy {
  Block* issuer;
  uint64_t map;
  int32_t at[3];
  uint32_t shared, barrier;
  uint16_t blocks;
  Clock known;
};

struct Cluster {
  const Launch* launch;
  const Code* code;
  Memory* memory;
  std::mt19937_64 random;
  std::vector<std::unique_ptr<Block>> blocks;
  std::vector<BoxCopy> copies;
  std::vector<uint32_t> readers;  // of all that many read: a clock for each warp
  Clock engine;                   // of what copies boxes: the last of each clock
  int arrived = 0;                // at the cluster's barrier
  uint32_t phase = 0;
  Clock arrived_known;
  uint32_t number = 0;  // of those that have run
  std::unordered_map<uint64_t, Written> written;
  int live = 0;       // warps
  int idle = 0;       // times that warps have waited since a phase ended
  bool races = true;  // look for them
  Counts* counts = nullptr;
};

// A product as one warp of a warpgroup asks for it: the others must ask for the same.
struct Product {
  uint32_t at;    // the instruction
  uint64_t a, b;  // where matrices are; 0: in registers
  bool add;
  bool operator==(const Product&) const = default;
};

struct Block {
  Cluster* cluster;
  unsigned rank;
  Dim index;
  uint32_t shared_end;
  std::vector<uint8_t> shared;
  std::vector<Touched> touched;  // by pieces of shared memory
  std::vector<int> unfenced;     // by 16 bytes: the warp + 1 that wrote and has shown it to no one
  std::unordered_map<uint32_t, Barrier> barriers;
  NamedBarrier named[16];
  std::vector<std::unique_ptr<Warp>> warps;
  std::vector<std::vector<Product>> products;  // by warpgroup
  int spare = 0;                               // registers that warps have given back, of a lane
};

struct LaneCopy {
  uint32_t shared;
  uint64_t global;
  uint32_t read;
};

struct Warp {
  Block* block;
  const Code* code;
  int number;  // in the block
  int id;      // in the cluster
  uint32_t alive, waiting,
      parked;      // lanes: not ended; at a barrier; where the others are still to come
  uint32_t early;  // lanes that have not waited for the kernel before
  uint32_t pc[kLanes];
  uint32_t here;  // where the lanes that run are
  uint32_t carry = 0;
  std::vector<uint32_t> file, predicates;
  std::vector<uint8_t> local;
  std::vector<LaneCopy> open[kLanes];
  std::deque<std::vector<LaneCopy>> groups[kLanes];
  Clock known;
  // Lanes that have touched shared memory since the warp's clock went on, and that have waited for
  // an mbarrier since all lanes met: another lane that arrives does not speak for them.
  uint32_t touched = 0, waited = 0;
  // wgmma: by register, the group that writes it (0: none) and when others last used it.
  std::vector<uint32_t> in_flight;
  std::vector<uint64_t> used;
  uint64_t now = 0, fenced = 0;
  uint32_t products = 0, products_done = 0;  // groups
  size_t issued = 0;                         // products
  struct Piece {
    uint32_t offset, group;
  };
  std::deque<Piece> pieces;  // 16 bytes of shared memory each that products still read
  bool yields = false;
  int registers = 0;  // of a lane
  uint32_t cluster_phase = 0;
  bool cluster_arrived = false;
  std::vector<uint32_t> dirty;  // pieces written and not yet shown to products

  uint32_t* u32(int at) { return file.data() + at; }
  uint64_t* u64(int at) { return reinterpret_cast<uint64_t*>(file.data() + at); }
};

inline uint64_t address_of(Warp& w, const Instruction& i, int lane) {
  const uint64_t base = i.a < 0 ? 0 : i.narrow ? w.u32(i.a)[lane] : w.u64(i.a)[lane];
  return base + static_cast<uint64_t>(i.offset);
}

[[noreturn]] void fault(const Warp& warp, const std::string& what, int lane = -1);

void merge(Clock& to, const Clock& from);
// All lanes have met: what they have touched so far comes before what others do that hear of it.
inline void go_on(Warp& warp) {
  ++warp.known[warp.id];
  warp.touched = warp.waited = 0;
}

// A lane may touch global memory of the launch, and not before what earlier kernels do is done.
void check_global(Warp& warp, int lane, uint64_t address, size_t bytes, bool write);
void check_not_early(const Warp& warp, int lane);

// A launch's blocks are in no order, and a block's lanes in none but what barriers make.
void touch_global(Warp& warp, int lane, uint64_t address, size_t bytes, bool write);

// Shared memory at an address of the block, or of the cluster.
uint8_t* shared_at(Warp& warp, int lane, uint64_t address, size_t bytes, bool write,
                   bool generic = true);
constexpr uint32_t kNotOver = 0xffffffffu;  // the clock of what goes on
void touch(const Clock& known, int id, const Warp* who, Block& block, int lane, uint32_t offset,
           size_t bytes, bool write, uint32_t clock);

template <class F>
inline void each_lane(uint32_t lanes, F f) {
  if (lanes == kAll) {
#pragma GCC ivdep  // lanes have numbers of their own
    for (int lane = 0; lane < kLanes; ++lane) f(lane);
  } else {
    while (lanes != 0) {
      f(__builtin_ctz(lanes));
      lanes &= lanes - 1;
    }
  }
}

}  // namespace ptx

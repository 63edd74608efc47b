// PTX as nvcc writes it, read into statements. See the PTX manual ("Parallel Thread Execution
// ISA").
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace ptx {

struct Operand {
  enum class Kind { name, number, address, list } kind = Kind::name;
  std::string name;            // of a register, label or variable; of an address: its base
  uint64_t value = 0;          // of a number; of an address: what is added
  std::vector<Operand> parts;  // of a list; of an address of a tensor map: its coordinates
};

// A line of CUDA, where PTX has them (nvcc -lineinfo), and the one that called the function there.
struct Source {
  int file = 0, line = 0, caller_file = 0, caller_line = 0;
};

struct Statement {
  std::string opcode;
  std::string guard;  // the predicate's name, or nothing
  bool guard_not = false;
  std::vector<Operand> operands;
  int line = 0;
  Source source;
};

struct Variable {
  std::string name;
  size_t bytes = 0, alignment = 1;
  std::vector<uint8_t> content;
};

struct Function {
  std::string name;
  bool is_kernel = false;
  int most_threads = 0, blocks_at_once = 0;  // .maxntid, .minnctapersm
  std::string target;                        // sm_80, sm_90a
  std::vector<Variable> parameters, results, locals, shared;
  std::map<std::string, std::string> registers;  // by name: pred, b16, b32, b64
  std::vector<Statement> body;
  std::map<std::string, size_t> labels;                     // by name: the statement that follows
  std::shared_ptr<const std::map<int, std::string>> files;  // of sources, by their numbers
};

struct Module {
  std::map<std::string, Function> functions;
  std::vector<Variable> globals;
};

Module parse(const std::string& text);

}  // namespace ptx

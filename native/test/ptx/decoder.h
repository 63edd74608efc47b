// From statements to instructions: registers and constants get places, opcodes the function that
// runs them. operands.cc has the former, decode.cc the latter, decode_hopper.cc Hopper's own.
#pragma once

#include <algorithm>

#include "machine.h"

namespace ptx {

inline bool is_wide(const std::string& type) { return type.size() == 3 && type[1] == '6'; }
inline bool has(const std::vector<std::string>& parts, const char* part) {
  return std::find(parts.begin(), parts.end(), part) != parts.end();
}

class Decoder {
 public:
  Decoder(const Function& function, const std::map<std::string, uint64_t>& globals)
      : function_(function), globals_(globals), code_(std::make_shared<Code>()) {}

  std::shared_ptr<const Code> run();

 private:
  void declare(const std::string& name, const std::string& type);
  int constant(uint64_t value, bool wide);
  // Where a register or constant of that type lies.
  int place(const Operand& operand, const std::string& type);
  std::vector<int> places(const Operand& operand, const std::string& type);
  int predicate(const Operand& operand);
  int list(const std::vector<int>& places);
  // Base and offset of an address.
  void address(const Operand& operand, Instruction& made);
  // The register of an address without an offset.
  int base(const Operand& operand, const std::string& type);
  // What a statement reads and writes, of registers that products may write.
  void note_registers(const Statement& at);

  Instruction one(const Statement& at);
  // d, a and, if there is one, b.
  void abc(const Statement& at, Instruction& made, const std::string& type,
           const std::string& result_type = {});
  void decode(const Statement& at, Instruction& made);
  void move(const Statement& at, Instruction& made, const std::string& type);
  void memory(const Statement& at, Instruction& made, const std::vector<std::string>& parts);
  void convert(const Statement& at, Instruction& made, const std::vector<std::string>& parts);
  void hopper(const Statement& at, Instruction& made, const std::vector<std::string>& parts);

  const Function& function_;
  const std::map<std::string, uint64_t>& globals_;
  std::shared_ptr<Code> code_;
  std::map<std::string, int> places_;
  std::map<std::string, std::string> types_;
  std::map<std::string, size_t> parameters_, locals_;
  std::vector<std::string> shared_;
  std::map<std::pair<uint64_t, bool>, int> constants_;
};

}  // namespace ptx

#include <stdexcept>

#include "decoder.h"

namespace ptx {

std::shared_ptr<const Code> Decoder::run() {
  code_->name = function_.name;
  code_->target = function_.target;
  code_->files = function_.files;
  code_->most_threads = function_.most_threads;
  if (const int threads = function_.most_threads * function_.blocks_at_once; threads > 0)
    code_->registers = std::min(255, 65536 / threads) / 8 * 8;
  for (const auto& [name, type] : function_.registers) declare(name, type);
  const char* specials[] = {"%tid.x",    "%tid.y",    "%tid.z",   "%ntid.x",         "%ntid.y",
                            "%ntid.z",   "%ctaid.x",  "%ctaid.y", "%ctaid.z",        "%nctaid.x",
                            "%nctaid.y", "%nctaid.z", "%laneid",  "%cluster_ctarank"};
  for (int k = 0; k < 14; ++k) {
    declare(specials[k], "b32");
    code_->special[k] = places_.at(specials[k]);
  }
  declare("$parameters", "b64");
  code_->parameter_base = places_.at("$parameters");
  for (const auto& parameter : function_.parameters) {
    code_->parameter_bytes = (code_->parameter_bytes + parameter.alignment - 1) /
                             parameter.alignment * parameter.alignment;
    code_->parameters.push_back({code_->parameter_bytes, parameter.bytes});
    parameters_[parameter.name] = code_->parameter_bytes;
    code_->parameter_bytes += parameter.bytes;
  }
  for (const auto& local : function_.locals) {
    code_->local_bytes =
        (code_->local_bytes + local.alignment - 1) / local.alignment * local.alignment;
    locals_[local.name] = code_->local_bytes;
    code_->local_bytes += local.bytes;
  }
  code_->local_bytes = (code_->local_bytes + 15) / 16 * 16;
  for (const auto& shared : function_.shared) {
    if (shared.bytes != 0) throw std::runtime_error("ptx: static shared memory");
    shared_.push_back(shared.name);
  }
  for (const Statement& at : function_.body) {
    try {
      code_->instructions.push_back(one(at));
      code_->opcodes.push_back(at.opcode);
      code_->places.push_back(at.source);
      note_registers(at);
    } catch (const std::exception& error) {
      throw std::runtime_error(function_.name + " line " + std::to_string(at.line) + ": " +
                               at.opcode + ": " + error.what());
    }
  }
  Instruction end;
  end.control = Control::leave;
  code_->instructions.push_back(end);
  code_->opcodes.push_back("ret");
  code_->places.emplace_back();
  code_->is_move.push_back(false);
  code_->sources.emplace_back();
  code_->results.emplace_back();
  return code_;
}

void Decoder::declare(const std::string& name, const std::string& type) {
  if (type == "pred") {
    places_[name] = code_->predicates++;
  } else {
    places_[name] = code_->words;
    code_->words += type == "b64" ? 2 * kLanes : kLanes;
  }
  types_[name] = type;
}

int Decoder::constant(uint64_t value, bool wide) {
  const auto key = std::make_pair(value, wide);
  const auto found = constants_.find(key);
  if (found != constants_.end()) return found->second;
  const int at = code_->words;
  code_->words += wide ? 2 * kLanes : kLanes;
  code_->constants.push_back({at, value, wide});
  constants_[key] = at;
  return at;
}

int Decoder::place(const Operand& operand, const std::string& type) {
  const bool wide = is_wide(type);
  if (operand.kind == Operand::Kind::number) return constant(operand.value, wide);
  if (operand.kind != Operand::Kind::name) throw std::runtime_error("a register expected");
  if (operand.name == "WARP_SZ") return constant(32, wide);
  const auto found = places_.find(operand.name);
  if (found != places_.end()) {
    const std::string& own = types_.at(operand.name);
    if (own == "pred" || (own == "b64") != wide)
      throw std::runtime_error(operand.name + " has another size");
    return found->second;
  }
  if (const auto local = locals_.find(operand.name); local != locals_.end())
    return constant(local->second, wide);
  if (const auto global = globals_.find(operand.name); global != globals_.end())
    return constant(global->second, wide);
  for (const auto& name : shared_)
    if (name == operand.name) return constant(kSharedBase, wide);
  throw std::runtime_error("unknown name " + operand.name);
}

int Decoder::predicate(const Operand& operand) {
  const auto found = places_.find(operand.name);
  if (operand.kind != Operand::Kind::name || found == places_.end() ||
      types_.at(operand.name) != "pred")
    throw std::runtime_error("a predicate expected");
  return found->second;
}

int Decoder::list(const std::vector<int>& places) {
  const int at = static_cast<int>(code_->lists.size());
  code_->lists.insert(code_->lists.end(), places.begin(), places.end());
  return at;
}

std::vector<int> Decoder::places(const Operand& operand, const std::string& type) {
  std::vector<int> made;
  if (operand.kind != Operand::Kind::list) return {operand.name == "_" ? -1 : place(operand, type)};
  for (const auto& part : operand.parts) made.push_back(part.name == "_" ? -1 : place(part, type));
  return made;
}

void Decoder::address(const Operand& operand, Instruction& made) {
  if (operand.kind != Operand::Kind::address) throw std::runtime_error("an address expected");
  made.offset = static_cast<int64_t>(operand.value);
  if (operand.name.empty()) return;
  if (const auto found = places_.find(operand.name); found != places_.end()) {
    made.a = found->second;
    made.narrow = types_.at(operand.name) == "b32";
  } else if (const auto parameter = parameters_.find(operand.name);
             parameter != parameters_.end()) {
    made.a = code_->parameter_base;
    made.offset += static_cast<int64_t>(parameter->second);
  } else if (const auto local = locals_.find(operand.name); local != locals_.end()) {
    made.offset += static_cast<int64_t>(local->second);
  } else if (const auto global = globals_.find(operand.name); global != globals_.end()) {
    made.offset += static_cast<int64_t>(global->second);
  } else if (std::find(shared_.begin(), shared_.end(), operand.name) != shared_.end()) {
    made.offset += kSharedBase;
  } else {
    throw std::runtime_error("unknown name " + operand.name);
  }
}

int Decoder::base(const Operand& operand, const std::string& type) {
  if (operand.kind != Operand::Kind::address || operand.value != 0)
    throw std::runtime_error("a plain address expected");
  Operand name;
  name.name = operand.name;
  return place(name, type);
}

void Decoder::note_registers(const Statement& at) {
  std::vector<int> sources, results;
  const auto add = [&](const Operand& operand, std::vector<int>& to, const auto& self) -> void {
    const auto found = places_.find(operand.name);
    if (found != places_.end() && types_.at(operand.name) == "b32")
      to.push_back(found->second / kLanes);
    for (const auto& part : operand.parts)
      self(part, operand.kind == Operand::Kind::address ? sources : to, self);
  };
  const bool stores = at.opcode.rfind("st.", 0) == 0 || at.opcode == "bra";
  for (size_t k = 0; k < at.operands.size(); ++k)
    add(at.operands[k],
        k == 0 && !stores && at.operands[k].kind != Operand::Kind::address ? results : sources,
        add);
  code_->is_move.push_back(at.opcode.rfind("mov.", 0) == 0);
  code_->sources.push_back(std::move(sources));
  code_->results.push_back(std::move(results));
}

Instruction Decoder::one(const Statement& at) {
  Instruction made;
  made.line = at.line;
  if (!at.guard.empty()) {
    Operand guard;
    guard.name = at.guard;
    made.guard = predicate(guard);
    made.guard_not = at.guard_not;
  }
  decode(at, made);
  return made;
}

void Decoder::abc(const Statement& at, Instruction& made, const std::string& type,
                  const std::string& result_type) {
  made.d = place(at.operands.at(0), result_type.empty() ? type : result_type);
  made.a = place(at.operands.at(1), type);
  if (at.operands.size() > 2) made.b = place(at.operands[2], type);
}

std::shared_ptr<const Code> decode(const Function& function,
                                   const std::map<std::string, uint64_t>& globals) {
  return Decoder(function, globals).run();
}

}  // namespace ptx

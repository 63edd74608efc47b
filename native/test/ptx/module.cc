#include "module.h"

#include <cctype>
#include <cstring>
#include <memory>

namespace ptx {

namespace {

// The functions' registers in nested scopes: a name within braces is another register.
class Parser {
 public:
  explicit Parser(const std::string& text) : text_(text) {}

  Module run() {
    while (skip(), at_ < text_.size()) directive();
    return std::move(module_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error("ptx line " + std::to_string(line_) + ": " + what + " at '" +
                             text_.substr(at_, 40) + "'");
  }

  void skip() {
    while (at_ < text_.size()) {
      if (text_[at_] == '\n') ++line_;
      if (std::isspace(static_cast<unsigned char>(text_[at_]))) {
        ++at_;
      } else if (text_.compare(at_, 2, "//") == 0) {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else {
        return;
      }
    }
  }

  bool accept(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(std::string("expected ") + c);
  }

  // Names, numbers and opcodes alike.
  std::string word() {
    skip();
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) ||
                                  std::strchr("_.$%:", text_[at_]))) {
      // A label ends with one colon; an opcode has two in the middle.
      if (text_[at_] == ':') {
        if (text_.compare(at_, 2, "::") != 0) break;
        ++at_;
      }
      ++at_;
    }
    if (begin == at_) fail("expected a word");
    return text_.substr(begin, at_ - begin);
  }

  std::string peek() {
    const size_t at = at_;
    const int line = line_;
    const std::string found = word();
    at_ = at;
    line_ = line;
    return found;
  }

  void to_end_of_line() {
    while (at_ < text_.size() && text_[at_] != '\n') ++at_;
  }

  static size_t size_of(const std::string& type) {
    const std::string digits = type.substr(type.find_first_of("0123456789"));
    return std::stoul(digits) / 8;
  }

  uint64_t number() {
    skip();
    const bool minus = accept('-');
    std::string digits = word();
    uint64_t value;
    if (digits.rfind("0f", 0) == 0 || digits.rfind("0F", 0) == 0)
      value = std::stoull(digits.substr(2), nullptr, 16);
    else if (digits.rfind("0d", 0) == 0 || digits.rfind("0D", 0) == 0)
      value = std::stoull(digits.substr(2), nullptr, 16);
    else
      value = std::stoull(digits, nullptr, 0);
    return minus ? 0 - value : value;
  }

  // [.align n] .type name [[size]] [= {…}]
  Variable variable() {
    Variable made;
    std::string type;
    while (skip(), text_[at_] == '.') {
      const std::string part = word();
      if (part == ".align")
        made.alignment = number();
      else if (part != ".ptr" && part != ".global")
        type = part;
    }
    made.name = word();
    const size_t element = size_of(type);
    size_t count = 1;
    if (accept('[')) {
      count = 0;
      if (!accept(']')) {
        count = number();
        expect(']');
      }
    }
    made.bytes = element * count;
    made.alignment = std::max(made.alignment, element);
    if (accept('=')) {
      expect('{');
      while (!accept('}')) {
        const uint64_t value = number();
        for (size_t i = 0; i < element; ++i) made.content.push_back(value >> (8 * i));
        accept(',');
      }
    }
    return made;
  }

  void directive() {
    const std::string first = word();
    if (first == ".version" || first == ".address_size") return to_end_of_line();
    if (first == ".file") {
      const auto number_of_it = static_cast<int>(number());
      const size_t begin = text_.find('"', at_) + 1, end = text_.find('"', begin);
      (*files_)[number_of_it] = text_.substr(begin, end - begin);
      return to_end_of_line();
    }
    if (first == ".section") {
      at_ = text_.find('}', at_) + 1;
      return;
    }
    if (first == ".target") {
      target_ = word();
      return to_end_of_line();
    }
    bool shared = false, is_global = false;
    std::string part = first;
    while (part == ".visible" || part == ".extern" || part == ".weak") part = word();
    if (part == ".shared") shared = true;
    if (part == ".global" || part == ".const") is_global = true;
    if (shared || is_global) {
      Variable found = variable();
      expect(';');
      if (shared)
        module_shared_.push_back(found);
      else
        module_.globals.push_back(found);
      return;
    }
    if (part == ".entry" || part == ".func") return function(part == ".entry");
    fail("unknown directive " + part);
  }

  void list_of_parameters(std::vector<Variable>& to) {
    while (!accept(')')) {
      if (word() != ".param") fail("expected a parameter");
      to.push_back(variable());
      accept(',');
    }
  }

  void function(bool is_kernel) {
    Function made;
    made.is_kernel = is_kernel;
    made.target = target_;
    made.files = files_;
    if (accept('(')) list_of_parameters(made.results);
    made.name = word();
    if (accept('(')) list_of_parameters(made.parameters);
    while (skip(), text_[at_] == '.') {
      const std::string part = word();
      if (part == ".maxntid") {
        made.most_threads = 1;
        do made.most_threads *= static_cast<int>(number());
        while (accept(','));
      } else if (part == ".minnctapersm") {
        made.blocks_at_once = static_cast<int>(number());
      } else if (part != ".noreturn") {
        fail("unknown directive " + part);
      }
    }
    if (accept(';')) return;  // declared only
    made.shared = module_shared_;
    expect('{');
    scopes_.assign(1, {});
    function_ = &made;
    block();
    module_.functions[made.name] = std::move(made);
  }

  void declare(const std::string& type, const std::string& name) {
    std::string unique = name;
    if (scopes_.size() > 1) unique += "#" + std::to_string(++scoped_);
    scopes_.back()[name] = unique;
    function_->registers[unique] = type;
  }

  std::string resolve(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return found->second;
    }
    return name;
  }

  void registers() {
    std::string type = word().substr(1);
    if (type != "pred") type = "b" + std::to_string(std::max<size_t>(2, size_of(type)) * 8);
    do {
      const std::string name = word();
      if (accept('<')) {
        const uint64_t count = number();
        expect('>');
        for (uint64_t i = 0; i < count; ++i) declare(type, name + std::to_string(i));
      } else {
        declare(type, name);
      }
    } while (accept(','));
    expect(';');
  }

  void block() {
    for (;;) {
      skip();
      if (accept('}')) {
        scopes_.pop_back();
        return;
      }
      if (accept('{')) {
        scopes_.emplace_back();
        block();
        continue;
      }
      if (text_[at_] == '.') {
        const std::string what = word();
        if (what == ".reg") {
          registers();
        } else if (what == ".local" || what == ".param" || what == ".shared") {
          Variable found = variable();
          expect(';');
          if (what == ".shared") {
            function_->shared.push_back(found);
          } else {
            std::string unique = found.name;
            if (what == ".param") unique += "#" + std::to_string(++scoped_);
            scopes_.back()[found.name] = unique;
            found.name = unique;
            function_->locals.push_back(found);
          }
        } else if (what == ".pragma") {
          to_end_of_line();
        } else if (what == ".loc") {
          source();
        } else {
          fail("unknown directive " + what);
        }
        continue;
      }
      statement();
    }
  }

  // .loc file line column [, function_name …, inlined_at file line column]
  void source() {
    source_ = {};
    source_.file = static_cast<int>(number());
    source_.line = static_cast<int>(number());
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    const size_t caller = text_.find("inlined_at", at_);
    if (caller < end) {
      at_ = caller + 10;
      source_.caller_file = static_cast<int>(number());
      source_.caller_line = static_cast<int>(number());
    }
    to_end_of_line();
  }

  Operand operand() {
    skip();
    Operand made;
    if (accept('[')) {
      made.kind = Operand::Kind::address;
      skip();
      if (std::isdigit(static_cast<unsigned char>(text_[at_]))) {
        made.value = number();
      } else {
        made.name = resolve(word());
        if (accept('+')) made.value = number();
      }
      if (accept(',')) {
        made.parts.push_back(operand());
      }
      expect(']');
      return made;
    }
    if (accept('{') || (text_[at_] == '(' && accept('('))) {
      const char end = text_[at_ - 1] == '{' ? '}' : ')';
      made.kind = Operand::Kind::list;
      while (!accept(end)) {
        made.parts.push_back(operand());
        accept(',');
      }
      return made;
    }
    if (text_[at_] == '-' || std::isdigit(static_cast<unsigned char>(text_[at_]))) {
      made.kind = Operand::Kind::number;
      made.value = number();
      return made;
    }
    made.name = resolve(word());
    if (accept('|')) {  // two results
      Operand both;
      both.kind = Operand::Kind::list;
      both.parts = {made, operand()};
      return both;
    }
    return made;
  }

  void statement() {
    Statement made;
    made.line = line_;
    made.source = source_;
    if (accept('@')) {
      made.guard_not = accept('!');
      made.guard = resolve(word());
    }
    made.opcode = word();
    if (made.guard.empty() && accept(':')) {
      function_->labels[made.opcode] = function_->body.size();
      return;
    }
    while (!accept(';')) {
      made.operands.push_back(operand());
      accept(',');
    }
    function_->body.push_back(std::move(made));
  }

  const std::string& text_;
  size_t at_ = 0;
  int line_ = 1, scoped_ = 0;
  std::string target_;
  Source source_;
  std::shared_ptr<std::map<int, std::string>> files_ =
      std::make_shared<std::map<int, std::string>>();
  Module module_;
  std::vector<Variable> module_shared_;
  Function* function_ = nullptr;
  std::vector<std::map<std::string, std::string>> scopes_;
};

// Labels of inlined calls and of the callees get names of their own.
void inline_calls(Module& module, Function& function, int depth = 0) {
  if (depth > 4) throw std::runtime_error("ptx: calls too deep in " + function.name);
  std::vector<Statement> body;
  std::vector<std::pair<std::string, size_t>> new_labels;
  std::vector<size_t> moved(function.body.size() + 1);
  static int calls = 0;
  for (size_t i = 0; i < function.body.size(); ++i) {
    moved[i] = body.size();
    const Statement& at = function.body[i];
    if (at.opcode.rfind("call", 0) != 0) {
      body.push_back(at);
      continue;
    }
    // call (results), name, (parameters);
    std::vector<Operand> results, arguments;
    size_t which = 0;
    if (at.operands[which].kind == Operand::Kind::list) results = at.operands[which++].parts;
    const auto found = module.functions.find(at.operands[which++].name);
    if (found == module.functions.end())
      throw std::runtime_error("ptx: a call of an unknown function");
    if (which < at.operands.size()) arguments = at.operands[which].parts;
    Function callee = found->second;
    inline_calls(module, callee, depth + 1);
    const std::string tag = "@" + std::to_string(++calls);
    std::map<std::string, std::string> names;
    for (const auto& [name, type] : callee.registers) {
      names[name] = name + tag;
      function.registers[name + tag] = type;
    }
    for (const auto& local : callee.locals) {
      names[local.name] = local.name + tag;
      Variable own = local;
      own.name += tag;
      function.locals.push_back(own);
    }
    for (size_t k = 0; k < results.size(); ++k) names[callee.results[k].name] = results[k].name;
    for (size_t k = 0; k < arguments.size(); ++k)
      names[callee.parameters[k].name] = arguments[k].name;
    for (const auto& [name, where] : callee.labels) names[name] = name + tag;
    const std::string end = "$end" + tag;
    const auto rename = [&](Operand& operand, const auto& self) -> void {
      const auto known = names.find(operand.name);
      if (known != names.end()) operand.name = known->second;
      for (auto& part : operand.parts) self(part, self);
    };
    const size_t first = body.size();
    for (Statement inner : callee.body) {
      for (auto& operand : inner.operands) rename(operand, rename);
      if (!inner.guard.empty()) inner.guard = names.at(inner.guard);
      if (inner.opcode == "ret") {
        inner.opcode = "bra";
        Operand label;
        label.name = end;
        inner.operands = {label};
      }
      body.push_back(inner);
    }
    for (const auto& [name, where] : callee.labels)
      new_labels.emplace_back(name + tag, first + where);
    new_labels.emplace_back(end, body.size());
  }
  moved[function.body.size()] = body.size();
  for (auto& [name, where] : function.labels) where = moved[where];
  for (const auto& [name, where] : new_labels) function.labels[name] = where;
  function.body = std::move(body);
}

}  // namespace

Module parse(const std::string& text) {
  Module module = Parser(text).run();
  for (auto& [name, function] : module.functions)
    if (function.is_kernel) inline_calls(module, function);
  return module;
}

}  // namespace ptx

#include <stdexcept>

#include "access.h"
#include "arithmetic.h"
#include "decoder.h"
#include "instructions.h"

namespace ptx {

namespace {

std::vector<std::string> split(const std::string& opcode) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= opcode.size()) {
    const size_t end = std::min(opcode.find('.', begin), opcode.size());
    parts.push_back(opcode.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// What instructions compute with.
template <class F>
Run with_type(const std::string& type, F f) {
  if (type == "f32") return f(float{});
  if (type == "f64") return f(double{});
  if (type == "u32" || type == "b32") return f(uint32_t{});
  if (type == "s32") return f(int32_t{});
  if (type == "u64" || type == "b64") return f(uint64_t{});
  if (type == "s64") return f(int64_t{});
  if (type == "u16" || type == "b16") return f(uint16_t{});
  if (type == "s16") return f(int16_t{});
  throw std::runtime_error("ptx: unknown type " + type);
}
// Loads, stores and conversions: of bytes, too.
template <class F>
Run with_any_type(const std::string& type, F f) {
  if (type == "u8" || type == "b8") return f(uint8_t{});
  if (type == "s8") return f(int8_t{});
  return with_type(type, f);
}
template <class F>
Run with_integer(const std::string& type, F f) {
  return with_type(type, [&](auto t) -> Run {
    if constexpr (std::is_integral_v<decltype(t)>)
      return f(t);
    else
      throw std::runtime_error("ptx: an integer expected, not " + type);
  });
}
template <class F>
Run with_float(const std::string& type, F f) {
  return with_type(type, [&](auto t) -> Run {
    if constexpr (std::is_floating_point_v<decltype(t)>)
      return f(t);
    else
      throw std::runtime_error("ptx: a floating-point type expected, not " + type);
  });
}

template <class Op>
Run binary_of(const std::string& type) {
  return with_type(type, [](auto t) -> Run { return &binary<decltype(t), decltype(t), Op>; });
}
template <class Op>
Run integer_of(const std::string& type) {
  return with_integer(type, [](auto t) -> Run { return &binary<decltype(t), decltype(t), Op>; });
}
template <class Op>
Run unary_of(const std::string& type) {
  return with_type(type, [](auto t) -> Run { return &unary<decltype(t), decltype(t), Op>; });
}
template <class Op>
Run float_of(const std::string& type) {
  return with_float(type, [](auto t) -> Run { return &unary<decltype(t), decltype(t), Op>; });
}

}  // namespace

void Decoder::move(const Statement& at, Instruction& made, const std::string& type) {
  const Operand &to = at.operands.at(0), &from = at.operands.at(1);
  if (type == "pred") {
    made.d = predicate(to);
    if (from.kind == Operand::Kind::number)
      made.extra = from.value;
    else
      made.a = predicate(from);
    made.run = predicate_set;
  } else if (to.kind == Operand::Kind::list) {
    made.count = static_cast<uint8_t>(to.parts.size());
    made.extra = (is_wide(type) ? 64 : 32) / made.count;
    made.a = place(from, type);
    made.list = list(places(to, made.extra == 32 ? "b32" : "b16"));
    made.run = unpack;
  } else if (from.kind == Operand::Kind::list) {
    made.count = static_cast<uint8_t>(from.parts.size());
    made.extra = (is_wide(type) ? 64 : 32) / made.count;
    made.d = place(to, type);
    made.list = list(places(from, made.extra == 32 ? "b32" : "b16"));
    made.run = pack;
  } else if (const auto parameter = parameters_.find(from.name); parameter != parameters_.end()) {
    made.d = place(to, type);
    made.a = code_->parameter_base;
    made.b = constant(parameter->second, true);
    made.run = &binary<uint64_t, uint64_t, Add>;
  } else {
    made.d = place(to, type);
    made.a = place(from, type);
    made.run = unary_of<Same>(type);
  }
}

void Decoder::memory(const Statement& at, Instruction& made,
                     const std::vector<std::string>& parts) {
  const bool is_load = parts[0] == "ld";
  const std::string& type = parts.back();
  Space space = has(parts, "global") || has(parts, "const")         ? Space::global
                : has(parts, "shared") || has(parts, "shared::cta") ? Space::shared
                : has(parts, "local")                               ? Space::local
                : has(parts, "param")                               ? Space::param
                                                                    : Space::generic;
  if (space == Space::shared && (type.ends_with("8") || type.ends_with("16")))
    code_->shared_shift = 1;
  const Operand& where = at.operands.at(is_load ? 1 : 0);
  address(where, made);
  // Of a call: its arguments lie in local memory.
  if (space == Space::param && locals_.count(where.name)) space = Space::local;
  const Operand& data = at.operands.at(is_load ? 0 : 1);
  const bool wide = is_wide(type);
  std::vector<int> at_registers;
  if (type == "u8" || type == "s8" || type == "b8") {
    // A register of 16, 32 or 64 bits.
    const Operand& first = data.kind == Operand::Kind::list ? data.parts[0] : data;
    const std::string own = first.kind == Operand::Kind::name ? types_.at(first.name) : "b32";
    at_registers = places(data, own);
    if (own == "b64") throw std::runtime_error("bytes in 64 bits");
  } else {
    // Loads may extend to a longer register.
    const Operand& first = data.kind == Operand::Kind::list ? data.parts[0] : data;
    const bool extends = !wide && first.kind == Operand::Kind::name && types_.count(first.name) &&
                         types_.at(first.name) == "b64";
    at_registers = places(data, extends ? "b64" : type);
    if (extends) {
      made.extra = 1;
    }
  }
  made.count = static_cast<uint8_t>(at_registers.size());
  made.list = list(at_registers);
  const bool extends = made.extra == 1;
  const auto in_space = [&](auto s) -> Run {
    constexpr Space kSpace = decltype(s)::value;
    return with_any_type(type, [&](auto t) -> Run {
      using T = decltype(t);
      if (!is_load) {
        if constexpr (std::is_integral_v<T> && sizeof(T) <= 4)
          if (extends) return &store<kSpace, T, uint64_t>;
        return &store<kSpace, T, Word<T>>;
      }
      if constexpr (std::is_integral_v<T> && sizeof(T) <= 4) {
        using Long = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
        if (extends) return &load<kSpace, T, Long>;
        if constexpr (sizeof(T) < 4) {
          using Full = std::conditional_t<std::is_signed_v<T>, int32_t, uint32_t>;
          return &load<kSpace, T, Full>;
        }
      }
      return &load<kSpace, T, T>;
    });
  };
  switch (space) {
    case Space::global:
      made.run = in_space(std::integral_constant<Space, Space::global>());
      break;
    case Space::shared:
      made.run = in_space(std::integral_constant<Space, Space::shared>());
      break;
    case Space::local:
      made.run = in_space(std::integral_constant<Space, Space::local>());
      break;
    default:
      made.run = in_space(std::integral_constant<Space, Space::generic>());
      break;
  }
}

void Decoder::convert(const Statement& at, Instruction& made,
                      const std::vector<std::string>& parts) {
  const std::string &from = parts.back(), &to = parts[parts.size() - 2];
  made.d = place(at.operands.at(0), to == "bf16x2" ? "b32" : to == "e4m3x2" ? "b16" : to);
  const Operand& source = at.operands.at(1);
  if (!is_wide(from) && source.kind == Operand::Kind::name && types_.count(source.name) &&
      types_.at(source.name) == "b64") {
    made.a = place(source, "b64");
    made.run = with_any_type(from, [&](auto f) -> Run {
      using From = decltype(f);
      if constexpr (std::is_integral_v<From>)
        return with_any_type(to, [&](auto t) -> Run {
          using To = decltype(t);
          return &unary<uint64_t, To, Low<From, To>>;
        });
      else
        throw std::runtime_error("ptx: an integer expected, not " + from);
    });
    return;
  }
  made.a = place(source, from);
  if (to == "bf16x2" || to == "e4m3x2") {
    made.b = place(at.operands.at(2), from);
    made.run =
        to == "bf16x2" ? &binary<float, uint32_t, PackBf16> : &binary<float, uint32_t, PackE4m3>;
    return;
  }
  if (has(parts, "sat")) {
    if (from != "f32" || to != "f32") throw std::runtime_error("not known");
    made.run = &unary<float, float, Saturate>;
    return;
  }
  const int round = has(parts, "rni") ? 1 : has(parts, "rzi") ? 2 : has(parts, "rmi") ? 3 : 0;
  made.run = with_any_type(from, [&](auto f) -> Run {
    return with_any_type(to, [&](auto t) -> Run {
      using From = decltype(f);
      using To = decltype(t);
      if constexpr (std::is_floating_point_v<From>) {
        if (round == 1) return &unary<From, To, Nearest<From, To>>;
        if (round == 2) return &unary<From, To, Truncate<From, To>>;
        if (round == 3) return &unary<From, To, Floor<From, To>>;
      }
      return &unary<From, To, Convert<From, To>>;
    });
  });
}

void Decoder::decode(const Statement& at, Instruction& made) {
  const std::vector<std::string> parts = split(at.opcode);
  const std::string &op = parts[0], &type = parts.back();
  const bool carry = has(parts, "cc") || op == "addc" || op == "subc" || op == "madc";
  if (op == "bra") {
    made.control = Control::branch;
    made.offset = static_cast<int64_t>(function_.labels.at(at.operands.at(0).name));
  } else if (op == "ret" || op == "exit") {
    made.control = Control::leave;
  } else if (op == "trap") {
    made.control = Control::trap;
  } else if (op == "mov") {
    move(at, made, type);
  } else if (op == "ld" || op == "st") {
    memory(at, made, parts);
  } else if (op == "cvta") {
    made.d = place(at.operands.at(0), "b64");
    made.a = place(at.operands.at(1), "b64");
    const bool to = has(parts, "to");
    made.run = has(parts, "shared")  ? (to ? to_shared : from_shared)
               : has(parts, "local") ? (to ? to_shared : from_local)
                                     : &unary<uint64_t, uint64_t, Same>;
  } else if (op == "cvt") {
    convert(at, made, parts);
  } else if (carry) {
    made.d = place(at.operands.at(0), type);
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), type);
    if (at.operands.size() > 3) made.c = place(at.operands[3], type);
    if (is_wide(type)) throw std::runtime_error("not known");
    made.extra = (op.back() == 'c' ? 1 : 0) | (has(parts, "cc") ? 2 : 0) | (op[0] == 's' ? 4 : 0) |
                 (op[0] == 'm' ? 8 : 0) | (has(parts, "hi") ? 16 : 0);
    made.run = with_carry;
  } else if (op == "add" || op == "sub") {
    abc(at, made, type);
    if (has(parts, "rz"))
      made.run = &rounded<float, FE_TOWARDZERO, false>;
    else
      made.run = op == "add" ? binary_of<Add>(type) : binary_of<Sub>(type);
  } else if (op == "mul") {
    if (has(parts, "wide")) {
      const std::string to = type[0] + std::string(type.substr(1) == "16" ? "32" : "64");
      abc(at, made, type, to);
      made.run = type == "u32"   ? &binary<uint32_t, uint64_t, MulWide<uint64_t>>
                 : type == "s32" ? &binary<int32_t, int64_t, MulWide<int64_t>>
                 : type == "u16" ? &binary<uint16_t, uint32_t, MulWide<uint32_t>>
                                 : &binary<int16_t, int32_t, MulWide<int32_t>>;
    } else {
      abc(at, made, type);
      made.run = has(parts, "hi") ? integer_of<MulHigh>(type) : binary_of<Mul>(type);
    }
  } else if (op == "fma" || op == "mad") {
    made.d = place(at.operands.at(0), type);
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), type);
    made.c = place(at.operands.at(3), type);
    if (has(parts, "rm"))
      made.run = &rounded<float, FE_DOWNWARD, true>;
    else
      made.run = with_type(type, [](auto t) -> Run {
        using T = decltype(t);
        if constexpr (std::is_floating_point_v<T>)
          return &ternary<T, T, Fma>;
        else
          return &ternary<T, T, MadLow>;
      });
  } else if (op == "div" || op == "rem") {
    abc(at, made, type);
    made.run = op == "div" ? binary_of<Div>(type) : integer_of<Rem>(type);
  } else if (op == "min" || op == "max") {
    abc(at, made, type);
    made.run = op == "min" ? binary_of<Min>(type) : binary_of<Max>(type);
  } else if ((op == "and" || op == "or" || op == "xor") && type == "pred") {
    made.d = predicate(at.operands.at(0));
    made.a = predicate(at.operands.at(1));
    if (at.operands.at(2).kind == Operand::Kind::number) {
      made.extra = at.operands[2].value;
      made.run = op == "and"  ? &predicates_with<And>
                 : op == "or" ? &predicates_with<Or>
                              : &predicates_with<Xor>;
      return;
    }
    made.b = predicate(at.operands.at(2));
    made.run = op == "and" ? &predicates<And> : op == "or" ? &predicates<Or> : &predicates<Xor>;
  } else if (op == "not" && type == "pred") {
    made.d = predicate(at.operands.at(0));
    made.a = predicate(at.operands.at(1));
    made.run = predicate_not;
  } else if (op == "and" || op == "or" || op == "xor") {
    abc(at, made, type);
    made.run = op == "and"  ? integer_of<And>(type)
               : op == "or" ? integer_of<Or>(type)
                            : integer_of<Xor>(type);
  } else if (op == "not") {
    abc(at, made, type);
    made.run =
        with_integer(type, [](auto t) -> Run { return &unary<decltype(t), decltype(t), Not>; });
  } else if (op == "neg" || op == "abs") {
    abc(at, made, type);
    made.run = op == "neg" ? unary_of<Neg>(type) : unary_of<Abs>(type);
  } else if (op == "sqrt") {
    abc(at, made, type);
    made.run = float_of<Sqrt>(type);
  } else if (op == "rcp") {
    abc(at, made, type);
    made.run = has(parts, "approx") ? float_of<ReciprocalFast>(type) : float_of<Reciprocal>(type);
  } else if (op == "ex2") {
    abc(at, made, type);
    made.run = has(parts, "ftz") ? float_of<Exp2Flushed>(type) : float_of<Exp2>(type);
  } else if (op == "copysign") {
    abc(at, made, type);
    made.run = binary_of<CopySign>(type);
  } else if (op == "shl" || op == "shr") {
    made.d = place(at.operands.at(0), type);
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), "b32");
    const bool left = op == "shl";
    made.run = with_integer(type, [&](auto t) -> Run {
      using T = decltype(t);
      return left ? &shift<T, Left> : &shift<T, Right>;
    });
  } else if (op == "setp") {
    made.d = predicate(at.operands.at(0));
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), type);
    if (at.operands.size() != 3) throw std::runtime_error("not known");
    const std::string& how = parts.at(1);
    made.run = with_type(type, [&](auto t) -> Run {
      using T = decltype(t);
      if (how == "eq") return &compare<T, Eq>;
      if (how == "ne") return &compare<T, Ne>;
      if (how == "lt" || how == "lo") return &compare<T, Lt>;
      if (how == "le" || how == "ls") return &compare<T, Le>;
      if (how == "gt" || how == "hi") return &compare<T, Gt>;
      if (how == "ge" || how == "hs") return &compare<T, Ge>;
      if constexpr (std::is_floating_point_v<T>) {
        if (how == "equ") return &compare<T, Equ>;
        if (how == "neu") return &compare<T, Neu>;
        if (how == "ltu") return &compare<T, Ltu>;
        if (how == "leu") return &compare<T, Leu>;
        if (how == "gtu") return &compare<T, Gtu>;
        if (how == "geu") return &compare<T, Geu>;
        if (how == "num") return &compare<T, Num>;
        if (how == "nan") return &compare<T, Nan>;
      }
      throw std::runtime_error("unknown comparison " + how);
    });
  } else if (op == "selp") {
    made.d = place(at.operands.at(0), type);
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), type);
    made.c = predicate(at.operands.at(3));
    made.run = with_type(type, [](auto t) -> Run { return &select<decltype(t)>; });
  } else if (op == "clz" || op == "popc") {
    made.d = place(at.operands.at(0), "b32");
    made.a = place(at.operands.at(1), type);
    const bool clz = op == "clz";
    made.run = with_integer(type, [&](auto t) -> Run {
      return clz ? &unary<decltype(t), uint32_t, Clz> : &unary<decltype(t), uint32_t, Popc>;
    });
  } else if (at.opcode == "prmt.b32") {
    made.d = place(at.operands.at(0), type);
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), type);
    made.c = place(at.operands.at(3), type);
    made.run = &ternary<uint32_t, uint32_t, Permute>;
  } else if (op == "bfi") {
    made.d = place(at.operands.at(0), type);
    made.a = place(at.operands.at(1), type);
    made.b = place(at.operands.at(2), type);
    made.c = place(at.operands.at(3), "b32");
    made.extra = static_cast<uint64_t>(place(at.operands.at(4), "b32"));
    made.run = bit_insert;
  } else if (op == "shfl") {
    const Operand& to = at.operands.at(0);
    const bool two = to.kind == Operand::Kind::list;
    made.control = Control::together;
    made.list = list({place(two ? to.parts[0] : to, "b32"), two ? predicate(to.parts[1]) : -1,
                      place(at.operands.at(1), "b32"), place(at.operands.at(2), "b32"),
                      place(at.operands.at(3), "b32"), place(at.operands.at(4), "b32")});
    made.c = place(at.operands.at(4), "b32");  // who takes part
    const std::string& how = parts.at(2);
    made.extra = how == "bfly" ? 0 : how == "up" ? 1 : how == "down" ? 2 : 3;
    made.run = shuffle;
  } else if (op == "bar" && parts.at(1) == "warp") {
    made.control = Control::together;
    made.c = place(at.operands.at(0), "b32");
    made.run = meet;
  } else if (op == "bar" && parts.at(1) == "sync") {
    made.control = Control::barrier;
    made.a = place(at.operands.at(0), "b32");
    if (at.operands.size() > 1) made.b = place(at.operands[1], "b32");
  } else if (at.opcode == "griddepcontrol.wait" ||
             at.opcode == "griddepcontrol.launch_dependents") {
    if (function_.target.rfind("sm_9", 0) != 0) throw std::runtime_error("not of that target");
    made.run = parts.at(1) == "wait" ? wait_for_earlier_kernels : nothing;
  } else if (op == "ldmatrix") {
    made.control = Control::together;
    const auto to = places(at.operands.at(0), "b32");
    made.count = static_cast<uint8_t>(to.size());
    made.list = list(to);
    made.extra = has(parts, "trans");
    address(at.operands.at(1), made);
    made.run = load_matrices;
  } else if (op == "mma") {
    if (at.opcode != "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
      throw std::runtime_error("not known");
    made.control = Control::together;
    std::vector<int> all;
    const char* types[] = {"f32", "b32", "b32", "f32"};
    const size_t sizes[] = {4, 4, 2, 4};
    for (int k = 0; k < 4; ++k) {
      const auto some = places(at.operands.at(k), types[k]);
      if (some.size() != sizes[k]) throw std::runtime_error("a fragment of another size");
      all.insert(all.end(), some.begin(), some.end());
    }
    made.list = list(all);
    made.run = multiply;
  } else if (op == "cp" && at.opcode.rfind("cp.async.bulk", 0) != 0) {
    if (at.opcode == "cp.async.cg.shared.global") {
      if (at.operands.at(2).value != 16) throw std::runtime_error("not known");
      made.list = list({base(at.operands.at(0), "b32"), base(at.operands.at(1), "b64"),
                        at.operands.size() > 3 ? place(at.operands[3], "b32") : -1});
      made.run = copy_later;
    } else if (at.opcode == "cp.async.commit_group") {
      made.run = commit_copies;
    } else if (at.opcode == "cp.async.wait_group") {
      made.extra = at.operands.at(0).value;
      made.run = wait_for_copies;
    } else {
      throw std::runtime_error("not known");
    }
  } else {
    hopper(at, made, parts);
  }
}

}  // namespace ptx

#include "plan.h"

#include <utility>

namespace hrsam {

namespace {

double number(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::Number>().DoubleValue();
}
int32_t integer(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::Number>().Int32Value();
}
std::string text(const Napi::Object& object, const char* key) {
  return object.Get(key).As<Napi::String>().Utf8Value();
}

hrsam_value read_value(const Napi::Object& object) {
  hrsam_value value{};
  value.dtype = integer(object, "dtype");
  value.storage = integer(object, "storage");
  value.slot = integer(object, "slot");
  value.offset = static_cast<uint64_t>(number(object, "offset"));
  const auto shape = object.Get("shape").As<Napi::Array>();
  value.rank = static_cast<int32_t>(shape.Length());
  if (value.rank > HRSAM_MAX_RANK)
    throw Napi::RangeError::New(object.Env(), "a value has too many dimensions");
  for (int32_t i = 0; i < value.rank; ++i)
    value.dims[i] = shape.Get(static_cast<uint32_t>(i)).As<Napi::Number>().Int64Value();
  return value;
}

}  // namespace

const char* Plan::keep(std::string text) { return texts_.emplace_back(std::move(text)).c_str(); }

Plan::Plan(Napi::Object object) {
  const auto values = object.Get("values").As<Napi::Array>();
  for (uint32_t i = 0; i < values.Length(); ++i)
    values_.push_back(read_value(values.Get(i).As<Napi::Object>()));

  const auto nodes = object.Get("nodes").As<Napi::Array>();
  for (uint32_t i = 0; i < nodes.Length(); ++i) {
    const auto from = nodes.Get(i).As<Napi::Object>();
    hrsam_node node{};
    node.op = keep(text(from, "op"));
    node.layer = keep(text(from, "layer"));
    node.result = integer(from, "result");

    auto& operands = operands_.emplace_back();
    const auto operand_list = from.Get("operands").As<Napi::Array>();
    for (uint32_t k = 0; k < operand_list.Length(); ++k) {
      const auto operand = operand_list.Get(k).As<Napi::Object>();
      operands.push_back({keep(text(operand, "name")), integer(operand, "value")});
    }
    auto& attributes = attributes_.emplace_back();
    const auto attribute_list = from.Get("attributes").As<Napi::Array>();
    for (uint32_t k = 0; k < attribute_list.Length(); ++k) {
      const auto attribute = attribute_list.Get(k).As<Napi::Object>();
      auto& numbers = numbers_.emplace_back();
      const auto list = attribute.Get("values").As<Napi::Array>();
      for (uint32_t j = 0; j < list.Length(); ++j)
        numbers.push_back(list.Get(j).As<Napi::Number>().DoubleValue());
      attributes.push_back(
          {keep(text(attribute, "name")), static_cast<int32_t>(numbers.size()), numbers.data()});
    }
    node.operand_count = static_cast<int32_t>(operands.size());
    node.operands = operands.data();
    node.attribute_count = static_cast<int32_t>(attributes.size());
    node.attributes = attributes.data();
    nodes_.push_back(node);
  }
  plan.value_count = static_cast<int32_t>(values_.size());
  plan.values = values_.data();
  plan.node_count = static_cast<int32_t>(nodes_.size());
  plan.nodes = nodes_.data();
  plan.arena_bytes = static_cast<uint64_t>(number(object, "arenaBytes"));
  plan.input_count = static_cast<int32_t>(object.Get("inputs").As<Napi::Array>().Length());
  plan.output_count = static_cast<int32_t>(object.Get("outputs").As<Napi::Array>().Length());
}

}  // namespace hrsam

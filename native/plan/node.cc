#include "node.h"

#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "failure.h"

namespace hrsam::plan {

const char* Node::op() const { return node_->op; }
const char* Node::layer() const { return node_->layer; }

void Node::fail(const char* code, const char* format, ...) const {
  char message[768];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  plan::fail(code, "%s (%s): %s", layer(), op(), message);
}

int Node::operand_or(const char* name) const {
  for (int i = 0; i < node_->operand_count; ++i)
    if (std::strcmp(node_->operands[i].name, name) == 0) return i;
  return -1;
}

int Node::operand(const char* name) const {
  const int i = operand_or(name);
  if (i < 0) fail("ERR_INTERNAL", "operand '%s' is missing", name);
  return i;
}

bool Node::has(const char* name) const { return operand_or(name) >= 0; }

const Value& Node::value(const char* name) const {
  return values_[node_->operands[operand(name)].value];
}

const Value& Node::result() const { return values_[node_->result]; }

const double* Node::list(const char* name, int* count) const {
  for (int i = 0; i < node_->attribute_count; ++i) {
    const hrsam_attribute& attribute = node_->attributes[i];
    if (std::strcmp(attribute.name, name) != 0) continue;
    *count = attribute.count;
    return attribute.values;
  }
  fail("ERR_INTERNAL", "attribute '%s' is missing", name);
}

double Node::number(const char* name) const {
  int count = 0;
  const double* values = list(name, &count);
  if (count != 1) fail("ERR_INTERNAL", "attribute '%s': expected one number, got %d", name, count);
  return values[0];
}

int64_t Node::integer(const char* name) const {
  const double value = number(name);
  if (!(std::fabs(value) <= 9007199254740991.0) || value != std::floor(value))
    fail("ERR_INTERNAL", "attribute '%s': expected an integer, got %g", name, value);
  return static_cast<int64_t>(value);
}

}  // namespace hrsam::plan

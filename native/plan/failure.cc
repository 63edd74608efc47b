#include "failure.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace hrsam::plan {

void fail(const char* code, const char* format, ...) {
  Failure failure{};
  std::strncpy(failure.error.code, code, sizeof(failure.error.code) - 1);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(failure.error.message, sizeof(failure.error.message), format, arguments);
  va_end(arguments);
  throw failure;
}

}  // namespace hrsam::plan

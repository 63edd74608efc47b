// How much memory a control group leaves.
#include "../cpu/core/memory.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "check.h"

using namespace hrsam::test;
using hrsam::cpu::control_group_room;

namespace {

class ControlGroup {
 public:
  ControlGroup() {
    char name[] = "/tmp/hrsam-memory-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~ControlGroup() { std::filesystem::remove_all(folder_); }
  void set(const char* name, const std::string& text) const {
    std::ofstream(folder_ + "/" + name) << text << '\n';
  }
  uint64_t room() const { return control_group_room(folder_); }

 private:
  std::string folder_;
};

TEST(no_limit) {
  const ControlGroup group;
  CHECK_EQ(group.room(), UINT64_MAX);
  group.set("memory.max", "max");
  group.set("memory.current", "1000");
  CHECK_EQ(group.room(), UINT64_MAX);
}

TEST(what_is_in_use_is_not_free) {
  const ControlGroup group;
  group.set("memory.max", "8000");
  CHECK_EQ(group.room(), 8000u);
  group.set("memory.current", "3000");
  CHECK_EQ(group.room(), 5000u);
  group.set("memory.current", "9000");
  CHECK_EQ(group.room(), 0u);
}

TEST(pages_of_files_are_given_back) {
  const ControlGroup group;
  group.set("memory.max", "8000");
  group.set("memory.current", "7900");
  group.set("memory.stat",
            "anon 400\nfile 7500\nfile_mapped 100\ninactive_file 3000\nactive_file 4500");
  CHECK_EQ(group.room(), 7600u);
  group.set("memory.current", "7000");  // the files are read one after the other
  CHECK_EQ(group.room(), 8000u);
}

}  // namespace

int main() {
  for (const Test& test : tests()) test.body();
  return failures() == 0 ? 0 : 1;
}

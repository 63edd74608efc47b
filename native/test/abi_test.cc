// Wrong plans end in an error, whatever is wrong with them; nothing crashes and nothing leaks.
#include "harness.h"

using namespace hrsam::test;

TEST(unknown_op) { CHECK_EQ(Call("no_such_op").result({1}).error(), "ERR_INTERNAL"); }

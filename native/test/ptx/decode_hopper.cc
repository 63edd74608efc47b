#include <stdexcept>

#include "decoder.h"
#include "instructions.h"

namespace ptx {

void Decoder::hopper(const Statement& at, Instruction& made,
                     const std::vector<std::string>& parts) {
  const std::string& op = at.opcode;
  if (function_.target != "sm_90a") throw std::runtime_error("not known");
  if (op == "mbarrier.init.shared::cta.b64") {
    made.list = list({base(at.operands.at(0), "b32"), place(at.operands.at(1), "b32")});
    made.run = barrier_init;
  } else if (op == "mbarrier.arrive.shared::cta.b64" ||
             op == "mbarrier.arrive.expect_tx.shared::cta.b64") {
    if (at.operands.at(0).name != "_") throw std::runtime_error("not known");
    const bool expects = at.operands.size() > 2;
    made.list =
        list({base(at.operands.at(1), "b32"), expects ? place(at.operands.at(2), "b32") : -1});
    made.run = barrier_arrive;
  } else if (op == "mbarrier.arrive.shared::cluster.b64" ||
             op == "mbarrier.arrive.release.cluster.shared::cluster.b64") {
    if (at.operands.at(0).name != "_") throw std::runtime_error("not known");
    made.list = list({base(at.operands.at(1), "b32"), -1});
    made.extra = 1;
    made.run = barrier_arrive;
  } else if (op == "mbarrier.try_wait.parity.shared::cta.b64") {
    made.d = predicate(at.operands.at(0));
    made.list = list({base(at.operands.at(1), "b32"), place(at.operands.at(2), "b32")});
    made.run = barrier_try;
  } else if (op == "mapa.shared::cluster.u32") {
    abc(at, made, "b32");
    made.run = map_address;
  } else if (op.rfind("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes",
                      0) == 0) {
    const bool all = has(parts, "multicast::cluster");
    const Operand& source = at.operands.at(1);
    if (source.parts.size() != 1 || source.parts[0].parts.size() != 3)
      throw std::runtime_error("three coordinates expected");
    Operand map;
    map.name = source.name;
    made.list = list(
        {base(at.operands.at(0), "b32"), place(map, "b64"), place(source.parts[0].parts[0], "b32"),
         place(source.parts[0].parts[1], "b32"), place(source.parts[0].parts[2], "b32"),
         base(at.operands.at(2), "b32"), all ? place(at.operands.at(3), "b16") : -1});
    made.run = copy_box;
  } else if (op == "prefetch.tensormap") {
    made.run = nothing;
  } else if (op == "fence.mbarrier_init.release.cluster") {
    made.run = barrier_show;
  } else if (op == "fence.proxy.async.shared::cta") {
    made.run = show_to_products;
  } else if (op.rfind("setmaxnreg.", 0) == 0) {
    const uint64_t count = at.operands.at(0).value;
    if (count % 8 != 0 || count < 24 || count > 256)
      throw std::runtime_error("a count of registers out of range");
    made.control = Control::together;
    made.extra = count;
    made.narrow = has(parts, "dec");
    made.run = set_registers;
  } else if (op == "barrier.cluster.arrive.release.aligned" ||
             op == "barrier.cluster.arrive.relaxed.aligned" ||
             op == "barrier.cluster.arrive.release" || op == "barrier.cluster.arrive.relaxed") {
    made.control = Control::together;
    made.extra = has(parts, "release");
    made.run = cluster_arrive;
  } else if (op.rfind("barrier.cluster.wait.acquire", 0) == 0) {
    made.control = Control::cluster_wait;
  } else if (op == "wgmma.fence.sync.aligned") {
    made.control = Control::together;
    made.run = products_fence;
  } else if (op == "wgmma.commit_group.sync.aligned") {
    made.control = Control::together;
    made.run = products_commit;
  } else if (op == "wgmma.wait_group.sync.aligned") {
    made.control = Control::together;
    made.extra = at.operands.at(0).value;
    made.run = products_wait;
  } else if (op.rfind("wgmma.mma_async.sync.aligned.m64n", 0) == 0) {
    code_->uses_products = true;
    made.control = Control::together;
    const int columns = std::stoi(op.substr(33));
    const bool e4m3 = has(parts, "e4m3");
    if (op != "wgmma.mma_async.sync.aligned.m64n" + std::to_string(columns) +
                  (e4m3 ? "k32.f32.e4m3.e4m3" : "k16.f32.bf16.bf16"))
      throw std::runtime_error("not known");
    std::vector<int> all = places(at.operands.at(0), "f32");
    if (static_cast<int>(all.size()) != columns / 2)
      throw std::runtime_error("sums of another number");
    const bool registers = at.operands.at(1).kind == Operand::Kind::list;
    const auto a =
        registers ? places(at.operands[1], "b32") : std::vector<int>{place(at.operands[1], "b64")};
    if (registers && a.size() != 4) throw std::runtime_error("a fragment of another size");
    all.insert(all.end(), a.begin(), a.end());
    all.push_back(place(at.operands.at(2), "b64"));
    made.list = list(all);
    made.c = predicate(at.operands.at(3));
    for (size_t k = 4; k < 6; ++k)
      if (at.operands.at(k).value != 1) throw std::runtime_error("scales other than 1");
    const size_t flags = at.operands.size() - 6;
    if (flags != (e4m3 ? 0u : registers ? 1u : 2u))
      throw std::runtime_error("another number of operands");
    const uint64_t transposed = flags == 0 ? 0 : at.operands.back().value;
    if (flags == 2 && at.operands[6].value != 0) throw std::runtime_error("not known");
    // columns, whether a is in registers, whether b is transposed, whether e4m3
    made.extra = static_cast<uint64_t>(columns) | (registers ? 1 << 16 : 0) |
                 (transposed ? 1 << 17 : 0) | (e4m3 ? 1 << 18 : 0);
    made.run = multiply_group;
  } else {
    throw std::runtime_error("not known");
  }
}

}  // namespace ptx

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "bindings/int_sequence.h"
#include "bindings/runtime_module.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"

namespace octavo::bindings {

using cache::BlockPool;
using cache::BlockTable;

namespace {

std::unique_ptr<BlockTable> make_table(std::shared_ptr<BlockPool> pool, const py::bytes& extras) {
  return std::make_unique<BlockTable>(std::move(pool), std::string(extras));
}

std::int64_t match_prefix(BlockTable& table, py::handle token_ids) {
  const auto ids = read_ints(token_ids, "token_ids", kNotNegative);
  return table.match_prefix(ids.data(), ids.size());
}

void commit(BlockTable& table, py::handle token_ids) {
  const auto ids = read_ints(token_ids, "token_ids", kNotNegative);
  table.commit(ids.data(), ids.size());
}

}  // namespace

void bind_cache(py::module_& module) {
  using py::literals::operator""_a;
  py::class_<BlockPool, std::shared_ptr<BlockPool>>(module, "BlockPool")
      .def(py::init<std::int32_t, std::int32_t, bool, std::uint64_t>(), "num_blocks"_a, "block_size"_a, "prefix_caching"_a, "hash_seed"_a)
      .def_property_readonly("num_blocks", &BlockPool::num_blocks)
      .def_property_readonly("block_size", &BlockPool::block_size)
      .def_property_readonly("num_free", &BlockPool::num_free)
      .def_property_readonly("num_cached", &BlockPool::num_cached)
      .def("reset_prefix_cache", &BlockPool::reset_prefix_cache)
      .def("check_integrity", &BlockPool::check_integrity);

  py::class_<BlockTable>(module, "BlockTable")
      .def(py::init(&make_table), "pool"_a, "extras"_a = py::bytes())
      .def_property_readonly("block_ids", &BlockTable::block_ids)
      .def_property_readonly("num_blocks", [](const BlockTable& table) { return table.block_ids().size(); })
      .def_property_readonly("num_committed", &BlockTable::num_committed)
      .def("match_prefix", &match_prefix, "token_ids"_a)
      .def("fork", &BlockTable::fork, "parent"_a, "num_tokens"_a)
      .def("grow", &BlockTable::grow, "num_tokens"_a)
      .def("commit", &commit, "token_ids"_a)
      .def("free", &BlockTable::free);
}

}  // namespace octavo::bindings

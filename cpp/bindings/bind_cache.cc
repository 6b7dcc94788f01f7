#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bindings/int_sequence.h"
#include "bindings/runtime_module.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"

namespace octavo::bindings {

using cache::BlockPool;
using cache::BlockTable;

namespace {

using Groups = std::vector<std::pair<std::shared_ptr<BlockPool>, std::optional<std::int64_t>>>;

std::unique_ptr<BlockTable> make_table(const Groups& groups, const py::bytes& extras) {
  std::vector<cache::CacheGroup> of;
  for (const auto& [pool, window] : groups) of.push_back({pool, window});
  return std::make_unique<BlockTable>(std::move(of), std::string(extras));
}

// One entry for each cache group.
template <typename T, typename Get>
std::vector<T> of_groups(const BlockTable& table, Get get) {
  std::vector<T> values;
  for (std::size_t group = 0; group < table.num_groups(); ++group) values.push_back(get(table, group));
  return values;
}

using BlockIds = std::vector<cache::BlockId>;

BlockTable::BlockIds block_ids(const BlockTable& table) {
  return of_groups<BlockIds>(table, [](const BlockTable& of, std::size_t group) { return of.block_ids(group); });
}

std::vector<std::int64_t> first_blocks(const BlockTable& table) {
  return of_groups<std::int64_t>(table, [](const BlockTable& of, std::size_t group) { return of.first_held(group); });
}

std::vector<std::int64_t> num_held(const BlockTable& table) {
  return of_groups<std::int64_t>(table, [](const BlockTable& of, std::size_t group) { return of.num_held(group); });
}

py::bytes states(const BlockPool& pool) {
  const std::vector<cache::BlockState> states = pool.states();
  return py::bytes(reinterpret_cast<const char*>(states.data()), states.size());
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
      .def("states", &states)
      .def("reset_prefix_cache", &BlockPool::reset_prefix_cache)
      .def("check_integrity", &BlockPool::check_integrity);

  py::class_<BlockTable>(module, "BlockTable")
      .def(py::init(&make_table), "groups"_a, "extras"_a = py::bytes())
      .def_property_readonly("block_ids", &block_ids)
      .def_property_readonly("first_blocks", &first_blocks)
      .def_property_readonly("num_held", &num_held)
      .def_property_readonly("num_blocks", &BlockTable::num_blocks)
      .def_property_readonly("num_committed", &BlockTable::num_committed)
      .def("match_prefix", &match_prefix, "token_ids"_a)
      .def("fork", &BlockTable::fork, "parent"_a, "num_tokens"_a)
      .def("copy_last", &BlockTable::copy_last, "parent"_a, "num_tokens"_a)
      .def("release_before", &BlockTable::release_before, "position"_a)
      .def("grow", &BlockTable::grow, "num_tokens"_a)
      .def("commit", &commit, "token_ids"_a)
      .def("free", &BlockTable::free);
}

}  // namespace octavo::bindings

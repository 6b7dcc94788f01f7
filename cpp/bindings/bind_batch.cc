#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "batch/batch.h"
#include "bindings/int_sequence.h"
#include "bindings/runtime_module.h"

namespace octavo::bindings {

using batch::Batch;
using batch::BatchLimits;
using batch::StepArrays;

namespace {

using Int32Array = py::array_t<std::int32_t>;

std::unique_ptr<Batch> make_batch(std::int32_t max_num_seqs, std::int32_t max_num_tokens, std::int32_t max_num_logits,
                                  std::int32_t max_model_len, std::int32_t block_size, std::int32_t num_groups) {
  return std::make_unique<Batch>(BatchLimits{max_num_seqs, max_num_tokens, max_num_logits, max_model_len, block_size, num_groups});
}

std::unique_ptr<StepArrays> make_arrays(const Batch& batch, std::optional<std::uintptr_t> address) {
  return std::make_unique<StepArrays>(batch.limits(), address ? reinterpret_cast<std::int32_t*>(*address) : nullptr);
}

void start_row(Batch& batch, std::int32_t row, py::handle token_ids, std::int32_t num_prompt_tokens, std::int32_t num_computed_tokens,
               py::handle first_blocks) {
  batch.start_row({row, num_prompt_tokens, num_computed_tokens, read_ints(first_blocks, "first_blocks", kNotNegative)},
                  read_ints(token_ids, "token_ids", kNotNegative));
}

batch::Step::NewBlocks read_new_blocks(py::handle of_rows) {
  batch::Step::NewBlocks blocks;
  const Items tables(of_rows, "new_block_ids");
  for (Py_ssize_t i = 0; i < tables.size(); ++i) {
    append_ints(tables[i], "new_block_ids", kAnyInt, blocks.ids);
    blocks.indptr.push_back(static_cast<std::int32_t>(blocks.ids.size()));
  }
  return blocks;
}

void prepare(Batch& batch, py::handle rows, py::handle num_scheduled_tokens, py::handle new_block_ids, py::handle num_logits,
             StepArrays* arrays) {
  batch::Step step;
  append_ints(rows, "rows", kAnyInt, step.rows);
  append_ints(num_scheduled_tokens, "num_scheduled_tokens", kAnyInt, step.num_scheduled_tokens);
  append_ints(num_logits, "num_logits", kAnyInt, step.num_logits);
  const Items groups(new_block_ids, "new_block_ids");
  for (Py_ssize_t group = 0; group < groups.size(); ++group) step.new_blocks.push_back(read_new_blocks(groups[group]));
  batch.prepare(step, arrays ? *arrays : batch.arrays());
}

void expect_tokens(Batch& batch, py::handle rows) { batch.expect_tokens(read_ints(rows, "rows", kAnyInt)); }

void append_tokens(Batch& batch, py::handle rows, py::handle token_ids) {
  batch.append_tokens(read_ints(rows, "rows", kAnyInt), read_ints(token_ids, "token_ids", kNotNegative));
}

std::vector<std::int32_t> row_tokens(const Batch& batch, std::int32_t row) {
  const std::int32_t count = batch.rows().at(row).num_tokens;
  const std::int32_t* ids = batch.rows().token_ids(row);
  return {ids, ids + count};
}

StepArrays& arrays_of(StepArrays& arrays) { return arrays; }
StepArrays& arrays_of(Batch& batch) { return batch.arrays(); }

// A property that views `count(arrays)` ints; the array keeps the memory's owner alive.
template <typename Owner, typename Count>
auto view(std::int32_t* (StepArrays::*data)(), Count count) {
  return [data, count](py::object self) {
    StepArrays& arrays = arrays_of(self.cast<Owner&>());
    return Int32Array(count(arrays), (arrays.*data)(), self);
  };
}

template <typename Owner>
py::tuple slot_mapping(py::object self) {
  StepArrays& arrays = arrays_of(self.cast<Owner&>());
  py::list groups;
  for (std::int32_t group = 0; group < arrays.num_groups(); ++group) {
    groups.append(Int32Array(arrays.num_tokens(), arrays.slot_mapping(group), self));
  }
  return py::tuple(groups);
}

template <typename Owner>
py::tuple block_tables(py::object self) {
  StepArrays& arrays = arrays_of(self.cast<Owner&>());
  py::list groups;
  for (std::int32_t group = 0; group < arrays.num_groups(); ++group) {
    groups.append(Int32Array({arrays.num_rows(), arrays.max_blocks_per_row()}, arrays.block_tables(group), self));
  }
  return py::tuple(groups);
}

// The arrays of a step as properties: StepArrays has them, and Batch those of its own memory.
template <typename Owner>
void bind_arrays(py::class_<Owner>& type) {
  const auto num_tokens = [](const StepArrays& arrays) { return arrays.num_tokens(); };
  const auto num_rows = [](const StepArrays& arrays) { return arrays.num_rows(); };
  const auto num_rows_and_one = [](const StepArrays& arrays) { return arrays.num_rows() + 1; };
  const auto num_logits = [](const StepArrays& arrays) { return arrays.num_logits(); };
  type.def_property_readonly("token_ids", view<Owner>(&StepArrays::token_ids, num_tokens))
      .def_property_readonly("row_ids",
                             [](Owner& self) {
                               StepArrays& arrays = arrays_of(self);
                               return Int32Array({arrays.num_rows()}, arrays.row_ids());
                             })
      .def_property_readonly("positions", view<Owner>(&StepArrays::positions, num_tokens))
      .def_property_readonly("slot_mapping", &slot_mapping<Owner>)
      .def_property_readonly("query_indptr", view<Owner>(&StepArrays::query_indptr, num_rows_and_one))
      .def_property_readonly("context_lens", view<Owner>(&StepArrays::context_lens, num_rows))
      .def_property_readonly("block_tables", &block_tables<Owner>)
      .def_property_readonly("logits_indices", view<Owner>(&StepArrays::logits_indices, num_logits));
}

}  // namespace

void bind_batch(py::module_& module) {
  using py::literals::operator""_a;
  py::class_<StepArrays> arrays(module, "StepArrays");
  py::class_<Batch> batch(module, "Batch");
  arrays.def(py::init(&make_arrays), "batch"_a, "address"_a = py::none())
      .def_static(
          "num_bytes", [](const Batch& of) { return StepArrays::num_ints(of.limits()) * sizeof(std::int32_t); }, "batch"_a)
      .def_property_readonly("address", [](StepArrays& self) { return reinterpret_cast<std::uintptr_t>(self.data()); });
  batch
      .def(py::init(&make_batch), "max_num_seqs"_a, "max_num_tokens"_a, "max_num_logits"_a, "max_model_len"_a, "block_size"_a,
           "num_groups"_a = 1)
      .def("start_row", &start_row, "row"_a, "token_ids"_a, "num_prompt_tokens"_a, "num_computed_tokens"_a = 0,
           "first_blocks"_a = py::tuple())
      .def("fork_row", &Batch::fork_row, "row"_a, "source_row"_a, "num_tokens"_a, "token_id"_a)
      .def("end_row", &Batch::end_row, "row"_a)
      .def("prepare", &prepare, "rows"_a, "num_scheduled_tokens"_a, "new_block_ids"_a, "num_logits"_a, "arrays"_a = py::none())
      .def("expect_tokens", &expect_tokens, "rows"_a)
      .def("append_tokens", &append_tokens, "rows"_a, "token_ids"_a)
      .def(
          "num_computed_tokens", [](const Batch& self, std::int32_t row) { return self.rows().at(row).num_computed; }, "row"_a)
      .def(
          "num_prompt_tokens", [](const Batch& self, std::int32_t row) { return self.rows().at(row).num_prompt_tokens; }, "row"_a)
      .def("row_tokens", &row_tokens, "row"_a);
  bind_arrays(arrays);
  bind_arrays(batch);
}

}  // namespace octavo::bindings

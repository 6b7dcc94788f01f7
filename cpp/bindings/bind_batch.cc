#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "batch/batch.h"
#include "bindings/int_sequence.h"
#include "bindings/runtime_module.h"

namespace octavo::bindings {

using batch::Batch;

namespace {

using Int32Array = py::array_t<std::int32_t>;

std::unique_ptr<Batch> make_batch(std::int32_t max_num_seqs, std::int32_t max_num_tokens, std::int32_t max_num_logits,
                                  std::int32_t max_model_len, std::int32_t block_size) {
  return std::make_unique<Batch>(batch::BatchLimits{max_num_seqs, max_num_tokens, max_num_logits, max_model_len, block_size});
}

void start_row(Batch& batch, std::int32_t row, py::handle token_ids, std::int32_t num_prompt_tokens) {
  batch.start_row(row, read_ints(token_ids, "token_ids", kNotNegative), num_prompt_tokens);
}

void prepare(Batch& batch, py::handle rows, py::handle num_computed_tokens, py::handle num_scheduled_tokens, py::handle new_block_ids,
             py::handle num_logits) {
  batch::Step step;
  append_ints(rows, "rows", kAnyInt, step.rows);
  append_ints(num_computed_tokens, "num_computed_tokens", kAnyInt, step.num_computed_tokens);
  append_ints(num_scheduled_tokens, "num_scheduled_tokens", kAnyInt, step.num_scheduled_tokens);
  append_ints(num_logits, "num_logits", kAnyInt, step.num_logits);
  const Items tables(new_block_ids, "new_block_ids");
  for (Py_ssize_t i = 0; i < tables.size(); ++i) {
    append_ints(tables[i], "new_block_ids", kAnyInt, step.new_block_ids);
    step.new_block_indptr.push_back(static_cast<std::int32_t>(step.new_block_ids.size()));
  }
  batch.prepare(step);
}

void append_tokens(Batch& batch, py::handle rows, py::handle token_ids) {
  batch.append_tokens(read_ints(rows, "rows", kAnyInt), read_ints(token_ids, "token_ids", kNotNegative));
}

std::vector<std::int32_t> row_tokens(const Batch& batch, std::int32_t row) {
  const std::int32_t count = batch.rows().at(row).num_tokens;
  const std::int32_t* ids = batch.rows().token_ids(row);
  return {ids, ids + count};
}

// A property that views `count(batch)` ints of the batch's memory; the array keeps the batch alive.
template <typename Count>
auto view(std::int32_t* (Batch::*data)(), Count count) {
  return [data, count](py::object self) {
    Batch& batch = self.cast<Batch&>();
    return Int32Array(count(batch), (batch.*data)(), self);
  };
}

Int32Array block_tables(py::object self) {
  Batch& batch = self.cast<Batch&>();
  return Int32Array({batch.num_rows(), batch.max_blocks_per_row()}, batch.block_tables(), self);
}

}  // namespace

void bind_batch(py::module_& module) {
  using py::literals::operator""_a;
  const auto num_tokens = [](const Batch& batch) { return batch.num_tokens(); };
  const auto num_rows = [](const Batch& batch) { return batch.num_rows(); };
  const auto num_rows_and_one = [](const Batch& batch) { return batch.num_rows() + 1; };
  const auto num_logits = [](const Batch& batch) { return batch.num_logits(); };
  py::class_<Batch>(module, "Batch")
      .def(py::init(&make_batch), "max_num_seqs"_a, "max_num_tokens"_a, "max_num_logits"_a, "max_model_len"_a, "block_size"_a)
      .def("start_row", &start_row, "row"_a, "token_ids"_a, "num_prompt_tokens"_a)
      .def("end_row", &Batch::end_row, "row"_a)
      .def("prepare", &prepare, "rows"_a, "num_computed_tokens"_a, "num_scheduled_tokens"_a, "new_block_ids"_a, "num_logits"_a)
      .def("append_tokens", &append_tokens, "rows"_a, "token_ids"_a)
      .def("row_tokens", &row_tokens, "row"_a)
      .def_property_readonly("token_ids", view(&Batch::token_ids, num_tokens))
      .def_property_readonly("positions", view(&Batch::positions, num_tokens))
      .def_property_readonly("slot_mapping", view(&Batch::slot_mapping, num_tokens))
      .def_property_readonly("query_indptr", view(&Batch::query_indptr, num_rows_and_one))
      .def_property_readonly("context_lens", view(&Batch::context_lens, num_rows))
      .def_property_readonly("block_tables", &block_tables)
      .def_property_readonly("logits_indices", view(&Batch::logits_indices, num_logits));
}

}  // namespace octavo::bindings

#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batch/batch.h"
#include "bindings/array_arg.h"
#include "bindings/graph_arg.h"
#include "bindings/kernels_module.h"
#include "ops/attention/cross_attention.h"
#include "program/cpu_program.h"

namespace octavo {
namespace {

using program::CacheArrays;
using program::CpuProgram;
using program::Graph;
using program::StepArrays;
using program::ValueId;

using Caches = std::vector<std::shared_ptr<KVCache>>;
using RowLimits = std::map<std::string, std::int64_t>;

std::unique_ptr<CpuProgram> make_program(const std::shared_ptr<Graph>& graph, cpu::ThreadPool& pool, const Caches& caches,
                                         const RowLimits& row_limits, std::int64_t num_state_rows) {
  return std::make_unique<CpuProgram>(graph, pool, caches, row_limits, num_state_rows);
}

// A view of an output, valid until the next run.
py::array output(CpuProgram& self, const std::string& name) {
  const Matrix<const float> values = self.output(name);
  return py::array_t<float>({values.rows, values.cols}, {values.stride * 4, std::int64_t{4}}, values.data, py::cast(&self));
}

// The batch belongs to the other module; its arrays are read where they are.
py::array run(CpuProgram& self, batch::Batch& batch, const std::string& wanted) {
  const std::int64_t tokens = batch.num_tokens(), rows = batch.num_rows();
  const auto num_groups = static_cast<std::int32_t>(self.graph().cache_groups.size()), groups = batch.arrays().num_groups();
  require(num_groups == 0 || groups == 1 || groups == num_groups, "program: a batch of ", groups, " cache groups for ", num_groups);
  std::vector<CacheArrays> caches;
  for (std::int32_t index = 0; index < num_groups; ++index) {
    const std::int32_t group = groups == 1 ? 0 : index;  // the one group of a batch serves all: they keep the same blocks
    caches.push_back({{batch.slot_mapping(group), tokens}, {batch.block_tables(group), rows, batch.max_blocks_per_row()}});
  }
  const StepArrays step{{batch.token_ids(), tokens},
                        {batch.positions(), tokens},
                        {batch.query_indptr(), rows + 1},
                        {batch.context_lens(), rows},
                        {batch.logits_indices(), batch.num_logits()},
                        {caches.data(), static_cast<std::int64_t>(caches.size())},
                        /*num_media=*/0,
                        {batch.row_ids(), rows}};
  // The thread that waits for the GIL may take this one's core as soon as it is let go. So the kernels are begun first: another thread of
  // the pool runs them in the meantime.
  self.begin(step);
  {
    py::gil_scoped_release release;
    self.finish();
  }
  return output(self, wanted);
}

// Fills rows of an input, from `first_row` on, before a step.
void write_input(CpuProgram& self, const std::string& name, const py::array& values, std::int64_t first_row) {
  const program::Graph& graph = self.graph();
  const auto found = graph.inputs.find(name);
  require(found != graph.inputs.end(), "program: it has no input ", name);
  const program::Storage& storage = graph.storage_of(found->second);
  storage.type == program::ValueType::int32 ? check_array<std::int32_t>(values, name.c_str(), 2)
                                            : check_array<float>(values, name.c_str(), 2);
  const std::string& count = graph.row_counts[static_cast<std::size_t>(storage.rows)];
  require(values.shape(1) == storage.cols, "program: ", name, " has ", storage.cols, " columns, not ", values.shape(1));
  require(first_row >= 0 && first_row + values.shape(0) <= self.max_rows(count), "program: rows ", first_row, " to ",
          first_row + values.shape(0), " of ", name, ", at most ", self.max_rows(count));
  std::memcpy(self.data_of(found->second) + first_row * storage.cols * 4, values.data(), static_cast<std::size_t>(values.nbytes()));
}

// Runs a tower on the patches that were written: its tokens are patches, its sequences tiles.
py::array run_tower(CpuProgram& self, const py::array& positions, const py::array& tile_indptr, std::int64_t num_media,
                    const py::array& window_indptr) {
  const auto at = span_arg<std::int32_t>(positions, "positions"), indptr = span_arg<std::int32_t>(tile_indptr, "tile_indptr");
  require(indptr.size >= 2 && indptr[0] == 0 && indptr[indptr.size - 1] == at.size, "program: tile_indptr must go from 0 to ", at.size);
  std::vector<std::int32_t> lengths;
  for (std::int64_t tile = 0; tile + 1 < indptr.size; ++tile) {
    lengths.push_back(indptr[tile + 1] - indptr[tile]);
    require(lengths.back() >= 1, "program: tile ", tile, " has no patches");
  }
  const Span<const std::int32_t> sizes{lengths.data(), static_cast<std::int64_t>(lengths.size())};
  const StepArrays step{at, at, indptr, sizes, {}, {}, num_media, {}, span_arg<std::int32_t>(window_indptr, "window_indptr")};
  {
    py::gil_scoped_release release;
    self.run(step);
  }
  return output(self, "media");
}

// What an encoder made of a sequence's input, for one layer's cross attention: keys in the first half of the columns, then values.
void write_cross(CpuProgram& self, std::int64_t state, std::int64_t row, const py::array& keys_values, int num_heads) {
  const Matrix<const float> both = matrix_arg<float>(keys_values, "keys_values");
  require(state >= 0 && state < static_cast<std::int64_t>(self.graph().states.size()), "program: state ", state, " of ",
          self.graph().states.size());
  const Matrix<float> states = self.states(static_cast<std::size_t>(state));
  require(row >= 0 && row < states.rows, "program: row ", row, " of ", states.rows);
  const std::int64_t half = both.cols / 2;
  store_cross({both.data, both.rows, half, both.stride}, {both.data + half, both.rows, half, both.stride}, num_heads,
              {states.row(row), states.cols});
}

// ---- single ops ---------------------------------------------------------------------------------------------------------------

// The int32 arrays of a step by name; those that are not given are empty, or zeros where every token needs one.
class StepArgs {
 public:
  StepArgs(const py::dict& arrays, std::int64_t num_rows) : arrays_(arrays) {
    token_ids_ = span("token_ids");
    if (!arrays.contains("token_ids")) token_ids_ = zeros(num_rows);
    blocks_.slot_mapping = or_zeros("slot_mapping");
    if (arrays.contains("block_tables")) blocks_.block_tables = matrix_arg<std::int32_t>(item("block_tables"), "block_tables");
    if (arrays.contains("query_indptr")) query_indptr_ = span("query_indptr");
  }
  StepArrays step(bool has_cache) {
    return {
        token_ids_,      or_zeros("positions"), query_indptr_, span("context_lens"), span("logits_indices"), {&blocks_, has_cache ? 1 : 0},
        /*num_media=*/0, span("rows")};
  }

 private:
  py::array item(const char* name) const { return py::cast<py::array>(arrays_[name]); }
  Span<const std::int32_t> span(const char* name) const {
    return arrays_.contains(name) ? span_arg<std::int32_t>(item(name), name) : Span<const std::int32_t>();
  }
  Span<const std::int32_t> or_zeros(const char* name) { return arrays_.contains(name) ? span(name) : zeros(token_ids_.size); }
  Span<const std::int32_t> zeros(std::int64_t count) {
    zeros_.resize(static_cast<std::size_t>(count));
    return {zeros_.data(), count};
  }

  const py::dict& arrays_;
  std::vector<std::int32_t> zeros_;
  const std::int32_t zero_ = 0;
  Span<const std::int32_t> token_ids_, query_indptr_{&zero_, 1};
  CacheArrays blocks_;
};

void fill(const CpuProgram& program, ValueId x, const py::array& from) { std::memcpy(program.data_of(x), from.data(), from.nbytes()); }

py::array result(const CpuProgram& program, ValueId x, std::int64_t rows) {
  const program::Graph& graph = program.graph();
  const std::int64_t cols = graph.values[static_cast<std::size_t>(x)].cols;
  const bool ints = graph.storage_of(x).type == program::ValueType::int32;
  py::array array = ints ? py::array(py::array_t<std::int32_t>({rows, cols})) : py::array(py::array_t<float>({rows, cols}));
  std::memcpy(array.mutable_data(), program.data_of(x), array.nbytes());
  return array;
}

// A graph of one op, run once on the arrays given: how tests call an op that serving records.
py::list run_op(const std::string& name, const std::vector<py::array>& reads, const OptionalWeights& weights, cpu::ThreadPool& pool,
                const std::shared_ptr<KVCache>& cache, int layer, std::optional<std::int64_t> window, const py::dict& step_arrays,
                const py::kwargs& attributes) {
  auto graph = std::make_shared<Graph>();
  std::vector<ValueId> inputs;
  for (const py::array& array : reads) {
    const bool ints = py::isinstance<py::array_t<std::int32_t>>(array);
    ints ? check_array<std::int32_t>(array, name.c_str(), 2) : check_array<float>(array, name.c_str(), 2);
    const auto type = ints ? program::ValueType::int32 : program::ValueType::activation;
    inputs.push_back(program::record_input(*graph, concat("input ", inputs.size()), "tokens", array.shape(1), type));
  }
  std::optional<py::array> states;  // read and written
  if (step_arrays.contains("states")) {
    states = py::cast<py::array>(step_arrays["states"]);
    check_array<float>(*states, "states", 2);
    program::record_state(*graph, states->shape(1));
  }
  std::optional<int> handle;
  for (int i = 0; cache && i < cache->num_layers(); ++i) {
    const auto kind = cache->latent_dim() > 0 ? program::CacheSpec::Kind::latent_kv : program::CacheSpec::Kind::paged_kv;
    const program::CacheSpec spec{kind, cache->num_kv_heads(), cache->head_dim(), window, cache->latent_dim()};
    const int recorded = program::record_cache(*graph, spec);
    if (i == layer) handle = recorded;
  }
  require(!cache || handle, name, ": layer ", layer, " of ", cache ? cache->num_layers() : 0);
  const std::vector<ValueId> writes =
      program::record(*graph, program::op_def(name), inputs, shared_weights(weights), attributes_arg(attributes), handle);
  for (ValueId x : writes) program::record_output(*graph, concat("output ", x), x);

  const std::int64_t num_rows = reads.empty() ? 0 : reads[0].shape(0);
  for (const py::array& array : reads) require(array.shape(0) == num_rows, name, ": the operands have different numbers of rows");
  StepArgs arrays(step_arrays, num_rows);
  const StepArrays step = arrays.step(cache != nullptr);
  const auto limit = [](std::int64_t rows) { return std::max<std::int64_t>(1, rows); };
  CpuProgram program(graph, pool, cache ? Caches{cache} : Caches{},
                     {{"tokens", limit(step.token_ids.size)},
                      {"logits", limit(step.logits_indices.size)},
                      {"sequences", limit(step.query_indptr.size - 1)}},
                     states ? states->shape(0) : 0);
  const auto state_row = [&](std::int64_t row) { return program.states(0).row(row); };
  const std::size_t row_bytes = states ? static_cast<std::size_t>(states->shape(1)) * sizeof(float) : 0;
  for (std::int64_t row = 0; states && row < states->shape(0); ++row) std::memcpy(state_row(row), states->data(row), row_bytes);
  for (std::size_t i = 0; i < reads.size(); ++i) fill(program, inputs[i], reads[i]);
  {
    py::gil_scoped_release release;
    program.run(step);
  }
  for (std::int64_t row = 0; states && row < states->shape(0); ++row) std::memcpy(states->mutable_data(row), state_row(row), row_bytes);
  py::list results;
  for (ValueId x : writes) {
    const std::string& rows = graph->row_counts[static_cast<std::size_t>(graph->storage_of(x).rows)];
    const std::map<std::string, std::int64_t> counts = {
        {"tokens", step.token_ids.size}, {"logits", step.logits_indices.size}, {"sequences", step.context_lens.size}};
    results.append(result(program, x, counts.at(rows)));
  }
  return results;
}

}  // namespace

void bind_program(py::module_& module) {
  py::class_<CpuProgram>(module, "CpuProgram")
      .def(py::init(&make_program), py::arg("graph"), py::arg("pool"), py::arg("caches"), py::arg("row_limits"),
           py::arg("num_state_rows") = 0, py::keep_alive<1, 3>())
      .def_property_readonly("num_bytes", &CpuProgram::num_bytes)
      .def("run", &run, py::arg("batch"), py::arg("output") = "logits")
      .def("output", &output, py::arg("name"))
      .def("write_input", &write_input, py::arg("name"), py::arg("values"), py::arg("first_row") = 0)
      .def("run_tower", &run_tower, py::arg("positions"), py::arg("tile_indptr"), py::arg("num_media"),
           py::arg("window_indptr") = py::array_t<std::int32_t>(0))
      .def("write_cross", &write_cross, py::arg("state"), py::arg("row"), py::arg("keys_values"), py::arg("num_heads"))
      .def("copy_states", &CpuProgram::copy_states, py::arg("row"), py::arg("source_row"))
      .def("profile", &CpuProgram::take_profile);
  module.def("run_op", &run_op, py::arg("name"), py::arg("reads"), py::arg("weights"), py::arg("pool"), py::arg("cache") = py::none(),
             py::arg("layer") = 0, py::arg("window") = py::none(), py::arg("step") = py::dict());
}

}  // namespace octavo

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "bindings/graph_arg.h"
#include "bindings/kernels_module.h"

namespace octavo {
namespace {

using program::CacheGroup;
using program::CacheSpec;
using program::Graph;
using program::ValueId;

// One value, several, or None for an op that writes none.
py::object record(Graph& graph, const std::string& name, const std::vector<ValueId>& reads, const OptionalWeights& weights,
                  std::optional<int> cache, const py::kwargs& attributes) {
  const std::vector<ValueId> writes =
      program::record(graph, program::op_def(name), reads, shared_weights(weights), attributes_arg(attributes), cache);
  if (writes.empty()) return py::none();
  return writes.size() == 1 ? py::object(py::int_(writes[0])) : py::object(py::tuple(py::cast(writes)));
}

int paged_kv(Graph& graph, std::int64_t kv_heads, std::int64_t head_dim, std::optional<std::int64_t> window) {
  return program::record_cache(graph, {CacheSpec::Kind::paged_kv, kv_heads, head_dim, window});
}

int latent_kv(Graph& graph, std::int64_t latent_dim, std::int64_t rope_dim) {
  return program::record_cache(graph, {CacheSpec::Kind::latent_kv, 1, latent_dim + rope_dim, std::nullopt, latent_dim});
}

}  // namespace

program::Attributes attributes_arg(const py::kwargs& attributes) {
  std::map<std::string, program::Attribute> values;
  for (const auto& [key, value] : attributes) {
    const auto name = py::cast<std::string>(key);
    if (value.is_none()) continue;
    if (py::isinstance<py::bool_>(value)) {
      values[name] = py::cast<bool>(value);
    } else if (py::isinstance<py::int_>(value)) {
      values[name] = py::cast<std::int64_t>(value);
    } else if (py::isinstance<py::float_>(value)) {
      values[name] = py::cast<double>(value);
    } else {
      require(py::isinstance<py::str>(value), "the attribute ", name, " must be a bool, an int, a float or a str");
      values[name] = py::cast<std::string>(value);
    }
  }
  return program::Attributes(std::move(values));
}

void bind_graph(py::module_& module) {
  py::class_<CacheGroup>(module, "CacheGroup")
      .def_property_readonly("kv_heads", [](const CacheGroup& group) { return group.spec.kv_heads; })
      .def_property_readonly("head_dim", [](const CacheGroup& group) { return group.spec.head_dim; })
      .def_property_readonly("window", [](const CacheGroup& group) { return group.spec.window; })
      .def_property_readonly("latent_dim", [](const CacheGroup& group) { return group.spec.latent_dim; })
      .def_readonly("num_layers", &CacheGroup::num_layers);
  py::class_<Graph, std::shared_ptr<Graph>>(module, "Graph")
      .def(py::init<>())
      .def("record", &record, py::arg("name"), py::arg("reads") = py::tuple(), py::arg("weights") = py::tuple(), py::kw_only(),
           py::arg("cache") = py::none())
      .def("columns", &program::record_columns, py::arg("x"), py::arg("start"), py::arg("count"))
      .def("paged_kv", &paged_kv, py::arg("kv_heads"), py::arg("head_dim"), py::arg("window"))
      .def(
          "int_input",
          [](Graph& graph, const std::string& name, const std::string& rows, std::int64_t cols) {
            return program::record_input(graph, name, rows, cols, program::ValueType::int32);
          },
          py::arg("name"), py::arg("rows") = "tokens", py::arg("cols") = 1)
      .def(
          "float_input",
          [](Graph& graph, const std::string& name, const std::string& rows, std::int64_t cols) {
            return program::record_input(graph, name, rows, cols, program::ValueType::activation);
          },
          py::arg("name"), py::arg("rows"), py::arg("cols"))
      .def("state", &program::record_state, py::arg("num_elements"))
      .def_readonly("states", &Graph::states)
      .def("latent_kv", &latent_kv, py::arg("latent_dim"), py::arg("rope_dim"))
      .def("output", &program::record_output, py::arg("name"), py::arg("x"))
      .def_property_readonly("inputs",
                             [](const Graph& graph) {
                               std::vector<std::string> names;
                               for (const auto& input : graph.inputs) names.push_back(input.first);
                               return names;
                             })
      .def_readonly("cache_groups", &Graph::cache_groups)
      .def(
          "num_cols", [](const Graph& graph, ValueId x) { return graph.values.at(static_cast<std::size_t>(x)).cols; }, py::arg("x"))
      .def("describe", &program::describe);
}

}  // namespace octavo

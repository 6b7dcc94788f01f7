#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "weights/array_weight.h"
#include "weights/dequantize.h"
#include "weights/embedding_weight.h"
#include "weights/experts_weight.h"
#include "weights/linear_weight.h"

namespace octavo {
namespace {

using program::Weight;

// Raw blocks: one-dimensional bytes that hold exactly `num_elements` elements.
const std::uint8_t* raw_arg(const py::array& array, const char* name, Format format, std::int64_t num_elements) {
  const Span<const std::uint8_t> bytes = span_arg<std::uint8_t>(array, name);
  const std::int64_t expected = format_bytes(format, num_elements);
  require(bytes.size == expected, name, ": ", bytes.size, " bytes, expected ", expected, " for ", num_elements, " elements of ",
          name_of(format));
  return bytes.data;
}

py::array_t<float> bound_dequantize(const py::array& data, const std::string& format_name, std::int64_t num_elements) {
  const Format format = format_from_name(format_name);
  const std::uint8_t* raw = raw_arg(data, "data", format, num_elements);
  py::array_t<float> out(num_elements);
  float* to = out.mutable_data();
  py::gil_scoped_release release;
  dequantize(raw, format, num_elements, to);
  return out;
}

using RawPart = std::tuple<py::array, std::string, std::int64_t>;

Arithmetic arithmetic_from_name(const std::string& name) {
  if (name == "exact") return Arithmetic::exact;
  require(name == "int8", "arithmetic ", name, " is not known; it can be one of: exact, int8");
  return Arithmetic::int8;
}

std::shared_ptr<LinearWeight> make_linear_weight(const std::vector<RawPart>& raw_parts, std::int64_t num_cols, cpu::ThreadPool& pool,
                                                 const std::string& arithmetic_name) {
  const Arithmetic arithmetic = arithmetic_from_name(arithmetic_name);
  std::vector<LinearWeight::Part> parts;
  for (const auto& [data, format_name, rows] : raw_parts) {
    const Format format = format_from_name(format_name);
    parts.push_back({raw_arg(data, "parts", format, rows * num_cols), format, rows});
  }
  py::gil_scoped_release release;
  return std::make_shared<LinearWeight>(parts, num_cols, pool, arithmetic);
}

// Keeps a Python object alive for as long as C++ does, on whatever thread that ends.
std::shared_ptr<const void> owner_of(const py::object& object) {
  return {new py::object(object), [](const void* owned) {
            py::gil_scoped_acquire acquire;
            delete static_cast<const py::object*>(owned);
          }};
}

std::shared_ptr<EmbeddingWeight> make_embedding_weight(const py::array& data, const std::string& format_name, std::int64_t num_rows,
                                                       std::int64_t num_cols) {
  const Format format = format_from_name(format_name);
  format_bytes(format, num_cols);  // every row must be whole blocks
  const std::uint8_t* raw = raw_arg(data, "data", format, num_rows * num_cols);
  return std::make_shared<EmbeddingWeight>(raw, format, num_rows, num_cols, owner_of(data));
}

std::shared_ptr<ArrayWeight> make_array_weight(const py::array& values) {
  require(values.ndim() == 1 || values.ndim() == 2, "values: expected 1 or 2 dimensions, got ", values.ndim());
  check_array<float>(values, "values", static_cast<int>(values.ndim()));
  const auto* data = static_cast<const float*>(values.data());
  return std::make_shared<ArrayWeight>(std::vector<float>(data, data + values.size()),
                                       std::vector<std::int64_t>(values.shape(), values.shape() + values.ndim()));
}

using ExpertPair = std::pair<std::shared_ptr<LinearWeight>, std::shared_ptr<LinearWeight>>;

std::shared_ptr<ExpertsWeight> make_experts_weight(const std::vector<ExpertPair>& pairs) {
  std::vector<Expert> experts;
  for (const auto& [gate_up, down] : pairs) experts.push_back({gate_up, down});
  return std::make_shared<ExpertsWeight>(std::move(experts));
}

}  // namespace

void bind_weights(py::module_& module) {
  module.def("formats", [] {
    std::vector<std::string> names;
    for (Format format : all_formats()) names.emplace_back(name_of(format));
    return names;
  });
  module.def(
      "format_bytes",
      [](const std::string& format, std::int64_t num_elements) { return format_bytes(format_from_name(format), num_elements); },
      py::arg("format"), py::arg("num_elements"));
  module.def("dequantize", &bound_dequantize, py::arg("data"), py::arg("format"), py::arg("num_elements"));

  py::class_<Weight, std::shared_ptr<Weight>>(module, "Weight")
      .def_property_readonly("kind", &Weight::kind)
      .def_property_readonly("shape", [](const Weight& weight) { return py::tuple(py::cast(weight.shape())); });
  py::class_<LinearWeight, Weight, std::shared_ptr<LinearWeight>>(module, "LinearWeight")
      .def(py::init(&make_linear_weight), py::arg("parts"), py::arg("num_cols"), py::arg("pool"), py::arg("arithmetic") = "exact")
      .def_property_readonly("num_rows", &LinearWeight::rows)
      .def_property_readonly("num_cols", &LinearWeight::cols)
      .def_property_readonly("num_bytes", &LinearWeight::num_bytes);
  py::class_<EmbeddingWeight, Weight, std::shared_ptr<EmbeddingWeight>>(module, "EmbeddingWeight")
      .def(py::init(&make_embedding_weight), py::arg("data"), py::arg("format"), py::arg("num_rows"), py::arg("num_cols"));
  py::class_<ArrayWeight, Weight, std::shared_ptr<ArrayWeight>>(module, "ArrayWeight").def(py::init(&make_array_weight), py::arg("values"));
  py::class_<ExpertsWeight, Weight, std::shared_ptr<ExpertsWeight>>(module, "ExpertsWeight")
      .def(py::init(&make_experts_weight), py::arg("experts"));
}

}  // namespace octavo

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/lm_head.h"
#include "weights/dequantize.h"

namespace octavo {
namespace {

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

EmbeddingWeight make_embedding_weight(const py::array& data, const std::string& format_name, std::int64_t num_rows, std::int64_t num_cols) {
  const Format format = format_from_name(format_name);
  format_bytes(format, num_cols);  // every row must be whole blocks
  return {raw_arg(data, "data", format, num_rows * num_cols), format, num_rows, num_cols};
}

py::array_t<float> bound_linear(const py::array& x, const LinearWeight& weight, const std::optional<py::array>& bias,
                                cpu::ThreadPool& pool) {
  const Matrix<const float> rows = matrix_arg<float>(x, "x");
  const Span<const float> bias_values = bias ? span_arg<float>(*bias, "bias") : Span<const float>{};
  require(!bias || bias_values.size == weight.rows(), "bias: ", bias_values.size, " values, expected ", weight.rows());
  OutputMatrix<float> y(rows.rows, weight.rows());
  {
    py::gil_scoped_release release;
    linear(rows, weight, bias_values.data, y.view, pool);
  }
  return y.array;
}

py::array_t<float> bound_lm_head(const py::array& x, const LinearWeight& weight, cpu::ThreadPool& pool) {
  const Matrix<const float> rows = matrix_arg<float>(x, "x");
  require(rows.cols == weight.cols(), "x: ", rows.cols, " columns, expected ", weight.cols());
  OutputMatrix<float> y(rows.rows, weight.rows());
  {
    py::gil_scoped_release release;
    lm_head(rows, weight, y.view, pool);
  }
  return y.array;
}

py::array_t<float> bound_embedding(const py::array& token_ids, const EmbeddingWeight& weight, float scale, cpu::ThreadPool& pool) {
  const Span<const std::int32_t> ids = span_arg<std::int32_t>(token_ids, "token_ids");
  OutputMatrix<float> y(ids.size, weight.cols);
  {
    py::gil_scoped_release release;
    embedding(ids, weight, scale, y.view, pool);
  }
  return y.array;
}

}  // namespace

void bind_linear(py::module_& module) {
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

  py::class_<LinearWeight, std::shared_ptr<LinearWeight>>(module, "LinearWeight")
      .def(py::init(&make_linear_weight), py::arg("parts"), py::arg("num_cols"), py::arg("pool"), py::arg("arithmetic") = "exact")
      .def_property_readonly("num_rows", &LinearWeight::rows)
      .def_property_readonly("num_cols", &LinearWeight::cols)
      .def_property_readonly("num_bytes", &LinearWeight::num_bytes);
  py::class_<EmbeddingWeight, std::shared_ptr<EmbeddingWeight>>(module, "EmbeddingWeight")
      .def(py::init(&make_embedding_weight), py::arg("data"), py::arg("format"), py::arg("num_rows"), py::arg("num_cols"),
           py::keep_alive<1, 2>());

  module.def("linear", &bound_linear, py::arg("x"), py::arg("weight"), py::arg("bias").none(true), py::arg("pool"));
  module.def("lm_head", &bound_lm_head, py::arg("x"), py::arg("weight"), py::arg("pool"));
  module.def("embedding", &bound_embedding, py::arg("token_ids"), py::arg("weight"), py::arg("scale"), py::arg("pool"));
}

}  // namespace octavo

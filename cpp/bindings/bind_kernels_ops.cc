#include <memory>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "ops/activation/activation.h"
#include "ops/norm/norm.h"
#include "ops/rotary/rotary.h"

namespace octavo {
namespace {

py::array rms_norm_array(const py::array& x, const py::array& weight, float eps, cpu::ThreadPool& pool) {
  const auto input = matrix_arg<float>(x, "x");
  const auto scale = span_arg<float>(weight, "weight");
  OutputMatrix<float> y(input.rows, input.cols);
  {
    py::gil_scoped_release release;
    rms_norm(input, scale, eps, y.view, pool);
  }
  return y.array;
}

using Gate = void (*)(Matrix<const float>, Matrix<float>, cpu::ThreadPool&);

py::array gate_array(Gate gate, const py::array& x, cpu::ThreadPool& pool) {
  const auto input = matrix_arg<float>(x, "x");
  OutputMatrix<float> y(input.rows, input.cols / 2);
  {
    py::gil_scoped_release release;
    gate(input, y.view, pool);
  }
  return y.array;
}

py::array softcap_array(const py::array& x, float cap, cpu::ThreadPool& pool) {
  const auto input = matrix_arg<float>(x, "x");
  OutputMatrix<float> y(input.rows, input.cols);
  {
    py::gil_scoped_release release;
    softcap(input, cap, y.view, pool);
  }
  return y.array;
}

py::array sigmoid_gate_array(const py::array& x, const py::array& gate, cpu::ThreadPool& pool) {
  const auto input = matrix_arg<float>(x, "x");
  const auto gates = matrix_arg<float>(gate, "gate");
  OutputMatrix<float> y(input.rows, input.cols);
  {
    py::gil_scoped_release release;
    sigmoid_gate(input, gates, y.view, pool);
  }
  return y.array;
}

py::array rotary_embedding_array(const py::array& x, const py::array& positions, const py::array& cos_sin, int num_heads, int head_dim,
                                 cpu::ThreadPool& pool) {
  const auto input = matrix_arg<float>(x, "x");
  const auto rows = span_arg<std::int32_t>(positions, "positions");
  const auto table = matrix_arg<float>(cos_sin, "cos_sin");
  require(input.cols == std::int64_t{num_heads} * head_dim, "x: has ", input.cols, " columns, expected ", num_heads, " heads of ",
          head_dim);
  OutputMatrix<float> y(input.rows, input.cols);
  {
    py::gil_scoped_release release;
    rotary_embedding(input, rows, table, head_dim, y.view, pool);
  }
  return y.array;
}

}  // namespace

void bind_ops(py::module_& module) {
  module.def("rms_norm", &rms_norm_array, py::arg("x"), py::arg("weight"), py::arg("eps"), py::arg("pool"));
  module.def(
      "silu_and_mul", [](const py::array& x, cpu::ThreadPool& pool) { return gate_array(silu_and_mul, x, pool); }, py::arg("x"),
      py::arg("pool"));
  module.def(
      "gelu_tanh_and_mul", [](const py::array& x, cpu::ThreadPool& pool) { return gate_array(gelu_tanh_and_mul, x, pool); }, py::arg("x"),
      py::arg("pool"));
  module.def("sigmoid_gate", &sigmoid_gate_array, py::arg("x"), py::arg("gate"), py::arg("pool"));
  module.def("softcap", &softcap_array, py::arg("x"), py::arg("cap"), py::arg("pool"));
  module.def("rotary_embedding", &rotary_embedding_array, py::arg("x"), py::arg("positions"), py::arg("cos_sin"), py::arg("num_heads"),
             py::arg("head_dim"), py::arg("pool"));
}

}  // namespace octavo

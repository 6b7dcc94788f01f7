#include <vector>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "bindings/moe_arg.h"
#include "ops/activation/activation.h"

namespace octavo {
namespace {

py::array moe_array(const py::array& x, const py::array& router_logits, const py::tuple& experts, int top_k, bool renormalise,
                    const std::string& activation, cpu::ThreadPool& pool) {
  const auto input = matrix_arg<float>(x, "x");
  const auto logits = matrix_arg<float>(router_logits, "router_logits");
  const MixtureOfExperts layer = moe_arg(experts, top_k, renormalise, activation);
  check_experts(layer);
  OutputMatrix<float> y(input.rows, input.cols);
  {
    py::gil_scoped_release release;
    std::vector<float> rows(static_cast<std::size_t>(input.rows * top_k * input.cols));
    std::vector<float> gate_up(static_cast<std::size_t>(input.rows * layer.gate_up_size()));
    Routing routing;
    routing.reserve(input.rows, static_cast<int>(layer.experts.size()), top_k);
    const MoeScratch scratch{{rows.data(), input.rows * top_k, input.cols}, {gate_up.data(), input.rows, layer.gate_up_size()}, routing};
    moe(input, logits, layer, scratch, y.view, pool);
  }
  return y.array;
}

}  // namespace

MixtureOfExperts moe_arg(const py::tuple& experts, int top_k, bool renormalise, const std::string& activation) {
  MixtureOfExperts layer{{}, top_k, renormalise, activation == "silu" ? silu_and_mul : gelu_tanh_and_mul};
  require(activation == "silu" || activation == "gelu_pytorch_tanh", "moe: activation ", activation,
          " is unknown; known: silu, gelu_pytorch_tanh");
  for (const py::handle& expert : experts) {
    const auto pair = py::cast<py::tuple>(expert);
    require(pair.size() == 2, "moe: an expert has ", pair.size(), " weights, expected (gate_up, down)");
    layer.experts.push_back({pair[0].cast<const LinearWeight*>(), pair[1].cast<const LinearWeight*>()});
  }
  return layer;
}

void bind_moe(py::module_& module) {
  module.def("moe", &moe_array, py::arg("x"), py::arg("router_logits"), py::arg("experts"), py::arg("top_k"), py::arg("renormalise"),
             py::arg("activation"), py::arg("pool"));
}

}  // namespace octavo

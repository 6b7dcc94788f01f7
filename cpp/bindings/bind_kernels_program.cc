#include <pybind11/stl.h>

#include "batch/batch.h"
#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "bindings/moe_arg.h"
#include "program/program.h"

namespace octavo {
namespace {

using program::Buffer;
using program::Program;
using program::StepArrays;

std::optional<py::array> as_array(const py::object& object) {
  return object.is_none() ? std::nullopt : std::optional<py::array>(py::cast<py::array>(object));
}

Buffer add_linear(Program& self, Buffer x, const LinearWeight& weight, const py::object& bias) {
  const auto array = as_array(bias);
  const Span<const float> span = array ? span_arg<float>(*array, "bias") : Span<const float>();
  require(!array || span.size == weight.rows(), "linear: bias has ", span.size, " entries and the weight ", weight.rows(), " rows");
  return self.linear(x, weight, span.data);
}

// The batch belongs to the other module; its arrays are read where they are.
py::array run(Program& self, batch::Batch& batch) {
  const std::int64_t tokens = batch.num_tokens(), rows = batch.num_rows();
  const StepArrays step{{batch.token_ids(), tokens},
                        {batch.positions(), tokens},
                        {batch.slot_mapping(), tokens},
                        {batch.query_indptr(), rows + 1},
                        {batch.context_lens(), rows},
                        {batch.block_tables(), rows, batch.max_blocks_per_row()},
                        {batch.logits_indices(), batch.num_logits()}};
  Matrix<const float> logits;
  self.begin(step);  // letting go of the GIL may cost this thread its core, to the one that waits for the GIL: kernels run by then
  {
    py::gil_scoped_release release;
    logits = self.finish();
  }
  return py::array_t<float>({logits.rows, logits.cols}, {logits.stride * 4, std::int64_t{4}}, logits.data, py::cast(&self));
}

}  // namespace

void bind_program(py::module_& module) {
  using KeepWeight = py::keep_alive<1, 3>;
  py::class_<Program>(module, "Program")
      .def(py::init<cpu::ThreadPool&>(), py::arg("pool"), py::keep_alive<1, 2>())
      .def("embedding", &Program::embedding, py::arg("weight"), py::arg("scale"), py::keep_alive<1, 2>())
      .def("linear", &add_linear, py::arg("x"), py::arg("weight"), py::arg("bias"), KeepWeight(), py::keep_alive<1, 4>())
      .def("lm_head", &Program::lm_head, py::arg("x"), py::arg("weight"), KeepWeight())
      .def(
          "rms_norm",
          [](Program& self, Buffer x, const py::array& weight, float eps) {
            return self.rms_norm(x, span_arg<float>(weight, "weight"), eps);
          },
          py::arg("x"), py::arg("weight"), py::arg("eps"), KeepWeight())
      .def("add", &Program::add, py::arg("x"), py::arg("y"))
      .def(
          "add_rms_norm",
          [](Program& self, Buffer x, Buffer residual, const py::array& weight, float eps) {
            return self.add_rms_norm(x, residual, span_arg<float>(weight, "weight"), eps);
          },
          py::arg("x"), py::arg("residual"), py::arg("weight"), py::arg("eps"), py::keep_alive<1, 4>())
      .def("silu_and_mul", &Program::silu_and_mul, py::arg("x"))
      .def("gelu_tanh_and_mul", &Program::gelu_tanh_and_mul, py::arg("x"))
      .def("sigmoid_gate", &Program::sigmoid_gate, py::arg("x"), py::arg("gate"))
      .def(
          "moe",
          [](Program& self, Buffer x, Buffer router_logits, const py::tuple& experts, int top_k, bool renormalise,
             const std::string& activation) { return self.moe(x, router_logits, moe_arg(experts, top_k, renormalise, activation)); },
          py::arg("x"), py::arg("router_logits"), py::arg("experts"), py::arg("top_k"), py::arg("renormalise"), py::arg("activation"),
          py::keep_alive<1, 4>())
      .def("columns", &Program::columns, py::arg("x"), py::arg("start"), py::arg("count"))
      .def(
          "rotary_embedding",
          [](Program& self, Buffer x, const py::array& cos_sin, int head_dim) {
            return self.rotary_embedding(x, matrix_arg<float>(cos_sin, "cos_sin"), head_dim);
          },
          py::arg("x"), py::arg("cos_sin"), py::arg("head_dim"), KeepWeight())
      .def("store_kv", &Program::store_kv, py::arg("k"), py::arg("v"), py::arg("layer"))
      .def("paged_attention", &Program::paged_attention, py::arg("q"), py::arg("layer"), py::arg("num_heads"), py::arg("scale"),
           py::arg("window"), py::arg("softcap"))
      .def("select_logits_rows", &Program::select_logits_rows, py::arg("x"))
      .def("softcap", &Program::softcap, py::arg("x"), py::arg("cap"))
      .def("seal", &Program::seal, py::arg("output"), py::arg("cache"), py::arg("max_num_tokens"), py::arg("max_num_logits"),
           py::keep_alive<1, 3>())
      .def_property_readonly("num_bytes", &Program::num_bytes)
      .def("num_cols", &Program::num_cols, py::arg("x"))
      .def("describe", &Program::describe)
      .def("run", &run, py::arg("batch"))
      .def("profile", &Program::take_profile);
}

}  // namespace octavo

#include <pybind11/stl.h>

#include <memory>

#include "bindings/kernels_module.h"
#include "cpu/affinity.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"
#include "cuda/device.h"

namespace octavo {

namespace py = pybind11;

void bind_machine(py::module_& module) {
  module.def("available_isas", [] {
    std::vector<std::string> names;
    for (cpu::Isa isa : cpu::available_isas()) names.emplace_back(cpu::name_of(isa));
    return names;
  });
  module.def("active_isa", [] { return cpu::name_of(cpu::active_isa()); });
  module.def("set_isa", [](const std::string& name) { cpu::set_active_isa(cpu::isa_from_name(name)); }, py::arg("name"));
  module.def("bind_memory_to_node", &cpu::bind_memory_to_node, py::arg("node"));
  module.def("has_cuda", &cuda::is_built);
  py::class_<cpu::ThreadPool, std::shared_ptr<cpu::ThreadPool>>(module, "ThreadPool")
      .def(py::init<int, std::vector<cpu::Cores>>(), py::arg("num_threads"), py::arg("affinity") = std::vector<cpu::Cores>())
      .def("place_caller", &cpu::ThreadPool::place_caller)
      .def_property_readonly("num_threads", &cpu::ThreadPool::num_threads);
}

}  // namespace octavo

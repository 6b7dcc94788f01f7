#include "bindings/kernels_module.h"

PYBIND11_MODULE(_kernels, module) {
  module.doc() = "Octavo's data plane on the CPU; documented in _kernels.pyi";
  module.def("version", [] { return OCTAVO_VERSION; });
  octavo::bind_machine(module);
  octavo::bind_weights(module);
  octavo::bind_kv_cache(module);
  octavo::bind_graph(module);
  octavo::bind_sampler(module);
  octavo::bind_program(module);
  octavo::bind_cuda(module);
}

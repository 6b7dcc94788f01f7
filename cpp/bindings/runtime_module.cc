#include "bindings/runtime_module.h"

PYBIND11_MODULE(_runtime, module) {
  octavo::bindings::bind_cache(module);
  octavo::bindings::bind_batch(module);
  octavo::bindings::bind_text(module);
  module.def("version", [] { return OCTAVO_VERSION; });
}

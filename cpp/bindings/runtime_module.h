// The parts of the module `_runtime`. Its contract, docstrings included, is python/octavo/_runtime.pyi.
#pragma once

#include <pybind11/pybind11.h>

namespace octavo::bindings {

void bind_cache(pybind11::module_& module);
void bind_batch(pybind11::module_& module);
void bind_text(pybind11::module_& module);

}  // namespace octavo::bindings

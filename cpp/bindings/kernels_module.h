// The parts of the module _kernels, in the order in which they are bound.
#pragma once
#include <pybind11/pybind11.h>

namespace octavo {

void bind_machine(pybind11::module_& module);   // bind_kernels_machine.cc: instruction sets, ThreadPool
void bind_weights(pybind11::module_& module);   // bind_kernels_weights.cc: formats, LinearWeight and the other kinds of weights
void bind_kv_cache(pybind11::module_& module);  // bind_kernels_kv_cache.cc: KVCache
void bind_graph(pybind11::module_& module);     // bind_kernels_graph.cc: Graph
void bind_sampler(pybind11::module_& module);   // bind_kernels_sampler.cc: Sampler
void bind_program(pybind11::module_& module);   // bind_kernels_program.cc: CpuProgram, and single ops for tests
void bind_cuda(pybind11::module_& module);      // bind_kernels_cuda.cc: CudaLibrary, CudaDevice, CudaProgram

}  // namespace octavo

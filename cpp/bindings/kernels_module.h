// The parts of the module _kernels, in the order in which they are bound.
#pragma once
#include <pybind11/pybind11.h>

namespace octavo {

void bind_machine(pybind11::module_& module);    // bind_kernels_machine.cc: instruction sets, ThreadPool
void bind_linear(pybind11::module_& module);     // bind_kernels_linear.cc: formats, LinearWeight, EmbeddingWeight, linear, embedding
void bind_ops(pybind11::module_& module);        // bind_kernels_ops.cc: norms, activations, rotary
void bind_moe(pybind11::module_& module);        // bind_kernels_moe.cc: moe
void bind_attention(pybind11::module_& module);  // bind_kernels_attention.cc: KVCache, store_kv, paged_attention
void bind_sampler(pybind11::module_& module);    // bind_kernels_sampler.cc: Sampler
void bind_program(pybind11::module_& module);    // bind_kernels_program.cc: Program

}  // namespace octavo

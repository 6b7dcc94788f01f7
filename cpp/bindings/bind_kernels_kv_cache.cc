#include <pybind11/stl.h>

#include <memory>
#include <string>

#include "bindings/kernels_module.h"
#include "ops/attention/kv_cache.h"

namespace octavo {
namespace py = pybind11;

void bind_kv_cache(py::module_& module) {
  py::class_<KVCache, std::shared_ptr<KVCache>>(module, "KVCache")
      .def(py::init([](int num_layers, int num_blocks, int block_size, int num_kv_heads, int head_dim, const std::string& dtype,
                       int latent_dim) {
             return std::make_shared<KVCache>(num_layers, num_blocks, block_size, num_kv_heads, head_dim, kv_dtype_from_name(dtype),
                                              latent_dim);
           }),
           py::arg("num_layers"), py::arg("num_blocks"), py::arg("block_size"), py::arg("num_kv_heads"), py::arg("head_dim"),
           py::arg("dtype") = "fp32", py::arg("latent_dim") = 0)
      .def("copy_block", &KVCache::copy_block, py::arg("source"), py::arg("destination"))
      .def_property_readonly("num_bytes", &KVCache::num_bytes)
      .def_property_readonly("dtype", [](const KVCache& cache) { return name_of(cache.dtype()); })
      .def_static(
          "bytes_per_block",
          [](int num_layers, int block_size, int num_kv_heads, int head_dim, const std::string& dtype, int latent_dim) {
            return KVCache::bytes_per_block(num_layers, block_size, num_kv_heads, head_dim, kv_dtype_from_name(dtype), latent_dim);
          },
          py::arg("num_layers"), py::arg("block_size"), py::arg("num_kv_heads"), py::arg("head_dim"), py::arg("dtype") = "fp32",
          py::arg("latent_dim") = 0);
}

}  // namespace octavo

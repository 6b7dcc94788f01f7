#include <pybind11/stl.h>

#include <memory>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "ops/attention/attention.h"

namespace octavo {
namespace {

void store_kv_arrays(const py::array& k, const py::array& v, KVCache& cache, int layer, const py::array& slot_mapping,
                     cpu::ThreadPool& pool) {
  const auto keys = matrix_arg<float>(k, "k");
  const auto values = matrix_arg<float>(v, "v");
  const auto slots = span_arg<std::int32_t>(slot_mapping, "slot_mapping");
  py::gil_scoped_release release;
  store_kv(keys, values, cache, layer, slots, pool);
}

py::array paged_attention_array(const py::array& q, const KVCache& cache, int layer, const py::array& query_indptr,
                                const py::array& context_lens, const py::array& block_tables, int num_heads, float scale,
                                std::optional<int> window, std::optional<float> softcap, cpu::ThreadPool& pool) {
  const auto queries = matrix_arg<float>(q, "q");
  const PagedAttention attention{span_arg<std::int32_t>(query_indptr, "query_indptr"),
                                 span_arg<std::int32_t>(context_lens, "context_lens"),
                                 matrix_arg<std::int32_t>(block_tables, "block_tables"),
                                 num_heads,
                                 scale,
                                 window,
                                 softcap};
  OutputMatrix<float> y(queries.rows, queries.cols);
  {
    py::gil_scoped_release release;
    paged_attention(queries, cache, layer, attention, y.view, pool);
  }
  return y.array;
}

}  // namespace

void bind_attention(py::module_& module) {
  py::class_<KVCache, std::shared_ptr<KVCache>>(module, "KVCache")
      .def(py::init([](int num_layers, int num_blocks, int block_size, int num_kv_heads, int head_dim, const std::string& dtype) {
             return std::make_shared<KVCache>(num_layers, num_blocks, block_size, num_kv_heads, head_dim, kv_dtype_from_name(dtype));
           }),
           py::arg("num_layers"), py::arg("num_blocks"), py::arg("block_size"), py::arg("num_kv_heads"), py::arg("head_dim"),
           py::arg("dtype") = "fp32")
      .def_property_readonly("num_bytes", &KVCache::num_bytes)
      .def_property_readonly("dtype", [](const KVCache& cache) { return name_of(cache.dtype()); })
      .def_static(
          "bytes_per_block",
          [](int num_layers, int block_size, int num_kv_heads, int head_dim, const std::string& dtype) {
            return KVCache::bytes_per_block(num_layers, block_size, num_kv_heads, head_dim, kv_dtype_from_name(dtype));
          },
          py::arg("num_layers"), py::arg("block_size"), py::arg("num_kv_heads"), py::arg("head_dim"), py::arg("dtype") = "fp32");
  module.def("store_kv", &store_kv_arrays, py::arg("k"), py::arg("v"), py::arg("cache"), py::arg("layer"), py::arg("slot_mapping"),
             py::arg("pool"));
  module.def("paged_attention", &paged_attention_array, py::arg("q"), py::arg("cache"), py::arg("layer"), py::arg("query_indptr"),
             py::arg("context_lens"), py::arg("block_tables"), py::arg("num_heads"), py::arg("scale"), py::arg("window"),
             py::arg("softcap"), py::arg("pool"));
}

}  // namespace octavo

// liboctavo_cuda.so as Python sees it: opened at run time, so that this module links nothing of CUDA.
#include <dlfcn.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "bindings/row_sampling_arg.h"
#include "cuda/api.h"
#include "weights/format.h"

namespace octavo {
namespace {

using cuda::Api;
using cuda::Device;
using program::Weight;
using WeightHandle = std::shared_ptr<const Weight>;

// pybind11 holds no pointers to const; the graph takes this back as one.
std::shared_ptr<Weight> handle(const WeightHandle& weight) { return std::const_pointer_cast<Weight>(weight); }

class Library {
 public:
  explicit Library(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) throw std::runtime_error(concat("the CUDA library cannot be loaded: ", dlerror()));
    const auto get = reinterpret_cast<octavo_cuda_api_function>(dlsym(library, "octavo_cuda_api"));
    api_ = get ? get(cuda::kApiVersion) : nullptr;
    require(api_ != nullptr, path, " belongs to another version of Octavo: install octavo-cuda of this version");
  }
  const Api& api() const { return *api_; }

 private:
  const Api* api_ = nullptr;
};

DType activation_from_name(const std::string& name) {
  if (name == "bf16") return DType::bf16;
  if (name == "fp16") return DType::f16;
  require(name == "fp32", "activations are bf16, fp16 or fp32, not ", name);
  return DType::f32;
}

using RawRows = std::tuple<py::array, std::string, std::int64_t>;

std::vector<cuda::HostRows> rows_arg(const std::vector<RawRows>& parts, std::int64_t cols) {
  std::vector<cuda::HostRows> rows;
  for (const auto& [data, format, count] : parts) {
    const Span<const std::uint8_t> bytes = span_arg<std::uint8_t>(data, "data");
    const std::int64_t expected = format_bytes(format_from_name(format), count * cols);
    require(bytes.size == expected, "data: ", bytes.size, " bytes, expected ", expected, " for ", count, " x ", cols, " of ", format);
    rows.push_back({bytes.data, format, count});
  }
  return rows;
}

std::shared_ptr<Weight> place_array(Device& device, const py::array& values) {
  require(py::isinstance<py::array_t<float>>(values) && (values.flags() & py::array::c_style) != 0, "values: expected contiguous float32");
  const std::vector<std::int64_t> shape(values.shape(), values.shape() + values.ndim());
  return handle(device.place_array(static_cast<const float*>(values.data()), shape));
}

std::shared_ptr<Weight> join_experts(Device& device,
                                     const std::vector<std::pair<std::shared_ptr<Weight>, std::shared_ptr<Weight>>>& experts) {
  std::vector<WeightHandle> gate_up, down;
  for (const auto& [first, second] : experts) {
    gate_up.push_back(first);
    down.push_back(second);
  }
  return handle(device.join_experts(gate_up, down));
}

// A program and what keeps it alive.
struct PyProgram {
  std::shared_ptr<Device> device;
  std::unique_ptr<cuda::Program> program;
};

std::unique_ptr<PyProgram> lower(const std::shared_ptr<Device>& device, const program::Graph& graph, std::int64_t max_num_seqs,
                                 std::int64_t max_num_tokens, std::int64_t max_num_logits, std::int64_t max_model_len,
                                 const std::string& attention, bool graphs, const std::string& kv) {
  const cuda::ProgramLimits limits{max_num_seqs, max_num_tokens, max_num_logits, max_model_len, 16, attention, kv, graphs};
  return std::make_unique<PyProgram>(PyProgram{device, device->lower(graph, limits)});
}

// The arrays of a prepared Batch, and what keeps them while the step is written.
struct StepArg {
  explicit StepArg(const py::handle& batch) {
    // Groups differ in their windows alone, so they share slots and block tables: those of the first serve all.
    const auto first = [&](const char* name) { return py::cast<py::array>(py::cast<py::sequence>(batch.attr(name))[0]); };
    const auto array = [&](const char* name) { return py::cast<py::array>(batch.attr(name)); };
    arrays = {array("token_ids"),    array("positions"),    first("slot_mapping"),  array("query_indptr"),
              array("context_lens"), first("block_tables"), array("logits_indices")};
    const auto span = [&](std::size_t i) { return span_arg<std::int32_t>(arrays[i], "an array of the batch"); };
    step = {span(0), span(1), span(2), span(3), span(4), matrix_arg<std::int32_t>(arrays[5], "block_tables"), span(6)};
  }
  std::vector<py::array> arrays;
  cuda::StepInput step;
};

py::array logits_view(const Matrix<const float>& logits, const py::handle& owner) {
  return py::array_t<float>({logits.rows, logits.cols}, logits.data, owner);
}

py::array run(const py::object& self, const py::handle& batch) {
  const StepArg arg(batch);
  cuda::Program& program = *self.cast<PyProgram&>().program;
  Matrix<const float> logits;
  {
    py::gil_scoped_release release;
    logits = program.run(arg.step);
  }
  return logits_view(logits, self);
}

Span<const std::int32_t> span_of(const std::vector<std::int32_t>& values) {
  return {values.data(), static_cast<std::int64_t>(values.size())};
}

void launch(PyProgram& self, const py::handle& batch, const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& logits_rows,
            bool host_logits) {
  const StepArg arg(batch);
  py::gil_scoped_release release;
  self.program->launch(arg.step, span_of(rows), span_of(logits_rows), host_logits);
}

void launch_forward(PyProgram& self, const py::handle& batch, bool host_logits) {
  const StepArg arg(batch);
  py::gil_scoped_release release;
  self.program->launch_forward(arg.step, host_logits);
}

// A view of pinned memory, to be filled before the draws are launched.
py::array masks(const py::object& self, std::int64_t count) {
  const Matrix<std::int32_t> masks = self.cast<PyProgram&>().program->masks(count);
  return py::array_t<std::int32_t>({masks.rows, masks.cols}, masks.data, self);
}

void launch_draws(PyProgram& self, const std::vector<std::int32_t>& rows, const std::vector<std::int32_t>& logits_rows,
                  const std::vector<std::int32_t>& masked) {
  py::gil_scoped_release release;
  self.program->launch_draws(span_of(rows), span_of(logits_rows), span_of(masked));
}

py::tuple collect(const py::object& self) {
  cuda::Program& program = *self.cast<PyProgram&>().program;
  cuda::Program::Result result;
  {
    py::gil_scoped_release release;
    result = program.collect();
  }
  py::list token_ids, reports;
  for (const SampledToken& token : *result.tokens) {
    token_ids.append(py::cast(token.token_id));
    reports.append(report_tuple(token.report));
  }
  py::object logits = py::none();
  if (result.logits.data) logits = logits_view(result.logits, self);
  return py::make_tuple(token_ids, reports, logits, result.device_ms);
}

void bind_device(py::module_& module) {
  py::class_<Device, std::shared_ptr<Device>>(module, "CudaDevice")
      .def_property_readonly("name", [](const Device& self) { return self.info().name; })
      .def_property_readonly("capability", [](const Device& self) { return self.info().capability; })
      .def_property_readonly("products", &Device::products)
      .def("memory",
           [](const Device& self) {
             const cuda::MemoryInfo memory = self.memory();
             return py::make_tuple(memory.free_bytes, memory.total_bytes, memory.weight_bytes);
           })
      .def(
          "linear",
          [](Device& self, const std::vector<RawRows>& parts, std::int64_t cols) {
            const auto rows = rows_arg(parts, cols);
            py::gil_scoped_release release;
            return handle(self.place_linear(rows, cols));
          },
          py::arg("parts"), py::arg("cols"))
      .def(
          "embedding",
          [](Device& self, const RawRows& table, std::int64_t cols) {
            const auto rows = rows_arg({table}, cols);
            py::gil_scoped_release release;
            return handle(self.place_embedding(rows.front(), cols));
          },
          py::arg("table"), py::arg("cols"))
      .def("array", &place_array, py::arg("values"))
      .def("experts", &join_experts, py::arg("experts"))
      .def(
          "as_linear", [](Device& self, const std::shared_ptr<Weight>& table) { return handle(self.as_linear(table)); }, py::arg("table"))
      .def(
          "random_linear",
          [](Device& self, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
            return handle(self.random_linear(rows, cols, seed));
          },
          py::arg("rows"), py::arg("cols"), py::arg("seed"))
      .def(
          "random_embedding",
          [](Device& self, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
            return handle(self.random_embedding(rows, cols, seed));
          },
          py::arg("rows"), py::arg("cols"), py::arg("seed"))
      .def("lower", &lower, py::arg("graph"), py::arg("max_num_seqs"), py::arg("max_num_tokens"), py::arg("max_num_logits"),
           py::arg("max_model_len"), py::arg("attention") = "auto", py::arg("graphs") = true, py::arg("kv") = "auto")
      .def_property("measured", &Device::measured, &Device::set_measured);
}

void bind_cuda_program(py::module_& module) {
  py::class_<PyProgram>(module, "CudaProgram")
      .def_property_readonly("num_bytes", [](const PyProgram& self) { return self.program->num_bytes(); })
      .def_property_readonly("bytes_per_block", [](const PyProgram& self) { return self.program->bytes_per_block(); })
      .def_property_readonly("can_sample", [](const PyProgram& self) { return self.program->can_sample(); })
      .def("make_caches", [](PyProgram& self, std::int64_t num_blocks) { self.program->make_caches(num_blocks); })
      .def(
          "copy_block",
          [](PyProgram& self, std::int64_t source, std::int64_t destination) { self.program->copy_block(source, destination); },
          py::arg("source"), py::arg("destination"))
      .def("describe", [](const PyProgram& self) { return self.program->describe(); })
      .def("run", &run, py::arg("batch"))
      .def("start_row",
           [](PyProgram& self, std::int64_t row, const std::vector<std::int32_t>& token_ids, std::int64_t num_prompt_tokens,
              const py::handle& sampling) {
             self.program->start_row(row, span_of(token_ids), num_prompt_tokens, row_sampling_arg(sampling));
           })
      .def("end_row", [](PyProgram& self, std::int64_t row) { self.program->end_row(row); })
      .def(
          "append_tokens",
          [](PyProgram& self, std::int64_t row, const std::vector<std::int32_t>& token_ids) {
            self.program->append_tokens(row, span_of(token_ids));
          },
          py::arg("row"), py::arg("token_ids"))
      .def("launch", &launch, py::arg("batch"), py::arg("rows"), py::arg("logits_rows"), py::arg("host_logits"))
      .def("launch_forward", &launch_forward, py::arg("batch"), py::arg("host_logits"))
      .def("masks", &masks, py::arg("count"))
      .def("launch_draws", &launch_draws, py::arg("rows"), py::arg("logits_rows"), py::arg("masked"))
      .def("collect", &collect)
      .def("finished", [](const PyProgram& self) { return self.program->finished(); })
      .def(
          "prepare",
          [](PyProgram& self, std::int64_t num_tokens) {
            py::gil_scoped_release release;
            return self.program->prepare(num_tokens);
          },
          py::arg("num_tokens"));
}

}  // namespace

void bind_cuda(py::module_& module) {
  bind_device(module);
  bind_cuda_program(module);
  py::class_<Library>(module, "CudaLibrary")
      .def(py::init<const std::string&>(), py::arg("path"))
      .def("info",
           [](const Library& self) {
             const cuda::LibraryInfo info = self.api().info();
             py::dict found;
             found["version"] = info.version;
             found["architectures"] = info.architectures;
             found["runtime_version"] = info.runtime_version;
             found["driver_version"] = info.driver_version;
             found["flashinfer"] = info.flashinfer;
             return found;
           })
      .def("devices",
           [](const Library& self) {
             py::list found;
             for (const cuda::DeviceInfo& info : self.api().devices()) {
               found.append(py::make_tuple(info.name, info.capability, info.multiprocessors, info.total_bytes));
             }
             return found;
           })
      .def(
          "open",
          [](const Library& self, int index, const std::string& activation, std::vector<std::string> blas_paths, bool deterministic,
             bool dry) {
            const cuda::OpenOptions options{index, activation_from_name(activation), std::move(blas_paths), deterministic, dry};
            py::gil_scoped_release release;
            return std::shared_ptr<Device>(self.api().open(options));
          },
          py::arg("index") = 0, py::arg("activation") = "bf16", py::arg("blas_paths") = std::vector<std::string>{},
          py::arg("deterministic") = false, py::arg("dry") = false);
}

}  // namespace octavo

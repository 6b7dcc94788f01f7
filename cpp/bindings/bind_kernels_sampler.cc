#include <pybind11/stl.h>

#include <memory>

#include "bindings/array_arg.h"
#include "bindings/kernels_module.h"
#include "bindings/row_sampling_arg.h"
#include "sampling/sampler.h"

namespace octavo {
namespace {

using TokenIds = std::vector<std::int32_t>;

Span<const std::int32_t> span_of(const TokenIds& ids) { return {ids.data(), static_cast<std::int64_t>(ids.size())}; }

py::tuple sample(Sampler& self, const py::array& logits, const TokenIds& rows, const TokenIds& logits_rows,
                 const std::optional<py::array>& masks) {
  const auto view = matrix_arg<float>(logits, "logits");
  const Matrix<const std::int32_t> bits = masks ? matrix_arg<std::int32_t>(*masks, "masks") : Matrix<const std::int32_t>();
  std::vector<SampledToken> sampled;
  {
    py::gil_scoped_release release;
    sampled = self.sample(view, span_of(rows), span_of(logits_rows), bits);
  }
  py::list token_ids, reports;
  for (const SampledToken& token : sampled) {
    token_ids.append(py::cast(token.token_id));
    reports.append(report_tuple(token.report));
  }
  return py::make_tuple(token_ids, reports);
}

py::list score(Sampler& self, const py::array& logits, const TokenIds& token_ids, std::int64_t num_top) {
  const auto view = matrix_arg<float>(logits, "logits");
  std::vector<std::optional<TokenReport>> reports;
  {
    py::gil_scoped_release release;
    reports = self.score(view, span_of(token_ids), num_top);
  }
  py::list tuples;
  for (const auto& report : reports) tuples.append(report_tuple(report));
  return tuples;
}

}  // namespace

void bind_sampler(py::module_& module) {
  py::class_<Sampler>(module, "Sampler")
      .def(py::init<std::int64_t, std::int64_t, cpu::ThreadPool&>(), py::arg("max_num_seqs"), py::arg("vocab_size"), py::arg("pool"),
           py::keep_alive<1, 4>())
      .def(
          "start_row",
          [](Sampler& self, std::int64_t row, const TokenIds& token_ids, std::int64_t num_prompt_tokens, const py::object& sampling) {
            self.start_row(row, span_of(token_ids), num_prompt_tokens, row_sampling_arg(sampling));
          },
          py::arg("row"), py::arg("token_ids"), py::arg("num_prompt_tokens"), py::arg("sampling"))
      .def("end_row", &Sampler::end_row, py::arg("row"))
      .def("sample", &sample, py::arg("logits"), py::arg("rows"), py::arg("logits_rows"), py::arg("masks") = py::none())
      .def(
          "append", [](Sampler& self, std::int64_t row, const TokenIds& token_ids) { self.append(row, span_of(token_ids)); },
          py::arg("row"), py::arg("token_ids"))
      .def("score", &score, py::arg("logits"), py::arg("token_ids"), py::arg("num_top"));
}

}  // namespace octavo

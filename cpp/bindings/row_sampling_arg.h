// Sampling parameters and reports between Python and C++.
#pragma once
#include <pybind11/stl.h>

#include <optional>
#include <type_traits>

#include "bindings/array_arg.h"
#include "sampling/sampler.h"

namespace octavo {

// An octavo.step.RowSampling, read attribute by attribute.
inline RowSampling row_sampling_arg(const py::handle& from) {
  RowSampling sampling;
  sampling.for_each_field([&](const char* name, auto& field) { field = py::cast<std::decay_t<decltype(field)>>(from.attr(name)); });
  return sampling;
}

inline py::object report_tuple(const std::optional<TokenReport>& report) {
  if (!report) return py::none();
  return py::make_tuple(report->logprob, report->rank, report->top_ids, report->top_logprobs);
}

}  // namespace octavo

// Sampling parameters and reports between Python and C++.
#pragma once
#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "bindings/array_arg.h"
#include "sampling/sampler.h"

namespace octavo {

// An octavo.step.RowSampling, read attribute by attribute.
inline RowSampling row_sampling_arg(const py::handle& from) {
  RowSampling sampling;
  const auto read = [&](const char* name, auto& value) { value = py::cast<std::decay_t<decltype(value)>>(from.attr(name)); };
  read("temperature", sampling.temperature);
  read("top_k", sampling.top_k);
  read("top_p", sampling.top_p);
  read("min_p", sampling.min_p);
  read("seed", sampling.seed);
  read("choice", sampling.choice);
  read("repetition_penalty", sampling.repetition_penalty);
  read("presence_penalty", sampling.presence_penalty);
  read("frequency_penalty", sampling.frequency_penalty);
  read("logit_bias", sampling.logit_bias);
  read("allowed_token_ids", sampling.allowed_token_ids);
  read("bad_words", sampling.bad_words);
  read("min_tokens", sampling.min_tokens);
  read("blocked_until_min", sampling.blocked_until_min);
  read("num_logprobs", sampling.num_logprobs);
  return sampling;
}

inline py::object report_tuple(const std::optional<TokenReport>& report) {
  if (!report) return py::none();
  return py::make_tuple(report->logprob, report->rank, report->top_ids, report->top_logprobs);
}

}  // namespace octavo

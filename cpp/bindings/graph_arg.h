// Operands of a graph as Python hands them over.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <vector>

#include "program/graph.h"
#include "program/record.h"

namespace octavo {

namespace py = pybind11;

using OptionalWeights = std::vector<std::shared_ptr<program::Weight>>;  // null for None

inline std::vector<std::shared_ptr<const program::Weight>> shared_weights(const OptionalWeights& weights) {
  return {weights.begin(), weights.end()};
}

// bool, int, float and str; None is an attribute left out. Throws std::invalid_argument for anything else.
program::Attributes attributes_arg(const py::kwargs& attributes);

}  // namespace octavo

// A mixture of experts as Python hands it over: the weights stay the tuple's, which the caller keeps alive.
#pragma once
#include <pybind11/pybind11.h>

#include <string>

#include "ops/moe/moe.h"

namespace octavo {

// experts: a tuple of (gate_up, down) LinearWeights. Throws std::invalid_argument for an unknown activation.
MixtureOfExperts moe_arg(const pybind11::tuple& experts, int top_k, bool renormalise, const std::string& activation);

}  // namespace octavo

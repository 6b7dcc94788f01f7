#include "weights/experts_weight.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace octavo {

ExpertsWeight::ExpertsWeight(std::vector<Expert> experts) : experts_(std::move(experts)) {
  require(!experts_.empty(), "experts: there are none");
  for (const Expert& expert : experts_) {
    require(expert.gate_up && expert.down, "experts: one lacks a weight");
    const LinearWeight &gate_up = *expert.gate_up, &down = *expert.down;
    require(gate_up.rows() == 2 * size() && gate_up.cols() == hidden_size() && down.rows() == hidden_size() && down.cols() == size(),
            "experts: one is [", gate_up.rows(), ", ", gate_up.cols(), "] and [", down.rows(), ", ", down.cols(), "], expected [",
            2 * size(), ", ", hidden_size(), "] and [", hidden_size(), ", ", size(), "]");
  }
}

bool ExpertsWeight::quantizes_activations() const {
  return std::any_of(experts_.begin(), experts_.end(),
                     [](const Expert& expert) { return expert.gate_up->quantizes_activations() || expert.down->quantizes_activations(); });
}

}  // namespace octavo

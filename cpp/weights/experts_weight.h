// The X gated feed-forward blocks of a mixture of experts: gate_up [2F, E], gates first, and down [E, F] of each.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "program/graph.h"
#include "weights/linear_weight.h"

namespace octavo {

struct Expert {
  std::shared_ptr<const LinearWeight> gate_up;
  std::shared_ptr<const LinearWeight> down;
};

class ExpertsWeight : public program::Weight {
 public:
  // Throws std::invalid_argument unless there are experts, all of one shape.
  explicit ExpertsWeight(std::vector<Expert> experts);
  const char* kind() const override { return "experts"; }
  std::vector<std::int64_t> shape() const override { return {num_experts(), size(), hidden_size()}; }

  std::int64_t num_experts() const { return static_cast<std::int64_t>(experts_.size()); }  // X
  std::int64_t size() const { return experts_.front().down->cols(); }                      // F
  std::int64_t hidden_size() const { return experts_.front().down->rows(); }               // E
  const Expert& operator[](std::int64_t index) const { return experts_[static_cast<std::size_t>(index)]; }
  bool quantizes_activations() const;  // whether an expert is computed in int8 arithmetic

 private:
  std::vector<Expert> experts_;
};

}  // namespace octavo

// How a router's logits become a choice of experts and their weights; formulas in route.h.
#pragma once
#include <cstdint>

namespace octavo {

constexpr int kMaxExperts = 8192;

enum class Scoring : std::uint8_t { softmax, sigmoid, sparsemixer };

struct Routing {
  Scoring scoring = Scoring::softmax;
  bool renormalise = false;
  const float* bias = nullptr;  // [X]; null: none
  int num_groups = 1;           // X is a multiple of it
  int top_groups = 1;           // their experts are at least top_k
  int group_best = 1;           // at most X / num_groups
  float scale = 1.0f;
  float least_sum = 0.0f;
  float jitter = 0.0f;  // of the sparsemixer
};

}  // namespace octavo

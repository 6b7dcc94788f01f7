// A small float32 array of one or two dimensions: the scale of a norm, a bias, rotary cosines and sines.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "base/tensor_view.h"
#include "program/graph.h"

namespace octavo {

class ArrayWeight : public program::Weight {
 public:
  ArrayWeight(std::vector<float> values, std::vector<std::int64_t> shape) : values_(std::move(values)), shape_(std::move(shape)) {}
  const char* kind() const override { return "array"; }
  std::vector<std::int64_t> shape() const override { return shape_; }

  Span<const float> values() const { return {values_.data(), static_cast<std::int64_t>(values_.size())}; }
  Matrix<const float> matrix() const { return {values_.data(), shape_.at(0), shape_.at(1)}; }

 private:
  std::vector<float> values_;
  std::vector<std::int64_t> shape_;
};

}  // namespace octavo

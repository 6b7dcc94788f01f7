// Weights on the device: matrices [rows, cols] in the activations' type, small arrays in float32 and in the activations' type.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cuda/api.h"
#include "cuda/blas.h"
#include "cuda/device_matrix.h"
#include "cuda/memory.h"
#include "ops/linear/tiled_cuda.h"

namespace octavo::cuda {

class MatrixWeight final : public program::Weight {
 public:
  MatrixWeight(const char* kind, std::shared_ptr<unsigned char> memory, std::int64_t rows, std::int64_t cols, DType type)
      : kind_(kind), memory_(std::move(memory)), matrix_{memory_.get(), rows, cols, cols, type} {}
  const char* kind() const override { return kind_; }
  std::vector<std::int64_t> shape() const override { return {matrix_.rows, matrix_.cols}; }
  const DeviceMatrix& matrix() const { return matrix_; }
  std::shared_ptr<MatrixWeight> as(const char* kind) const {
    return std::make_shared<MatrixWeight>(kind, memory_, matrix_.rows, matrix_.cols, matrix_.type);
  }

 private:
  const char* kind_;
  std::shared_ptr<unsigned char> memory_;
  DeviceMatrix matrix_;
};

class ArrayWeight final : public program::Weight {
 public:
  ArrayWeight(std::shared_ptr<unsigned char> values, std::shared_ptr<unsigned char> typed, std::vector<std::int64_t> shape)
      : values_(std::move(values)), typed_(std::move(typed)), shape_(std::move(shape)) {}
  const char* kind() const override { return "array"; }
  std::vector<std::int64_t> shape() const override { return shape_; }
  const float* values() const { return reinterpret_cast<const float*>(values_.get()); }
  Bias bias() const { return {values(), typed_.get()}; }

 private:
  std::shared_ptr<unsigned char> values_, typed_;
  std::vector<std::int64_t> shape_;
};

class ExpertsWeight final : public program::Weight {
 public:
  // pointers: on the device, those of every gate_up matrix, then of every down matrix; the two matrices are the first expert's.
  ExpertsWeight(std::vector<std::shared_ptr<const program::Weight>> experts, std::shared_ptr<unsigned char> pointers,
                const DeviceMatrix& gate_up, const DeviceMatrix& down)
      : experts_(std::move(experts)), pointers_(std::move(pointers)), gate_up_(gate_up), down_(down) {}
  const char* kind() const override { return "experts"; }
  std::vector<std::int64_t> shape() const override { return {num_experts(), down_.cols, gate_up_.cols}; }  // X, F, E
  std::int64_t num_experts() const { return static_cast<std::int64_t>(experts_.size() / 2); }
  GroupedWeights gate_up() const { return {reinterpret_cast<const void* const*>(pointers_.get()), num_experts(), gate_up_}; }
  GroupedWeights down() const { return {reinterpret_cast<const void* const*>(pointers_.get()) + num_experts(), num_experts(), down_}; }

 private:
  std::vector<std::shared_ptr<const program::Weight>> experts_;
  std::shared_ptr<unsigned char> pointers_;
  DeviceMatrix gate_up_, down_;
};

constexpr std::uintptr_t kDryAddress = 4096;

// Memory for weights, and what is in use of it. Dry: addresses that are never read.
class WeightMemory {
 public:
  explicit WeightMemory(bool dry) : dry_(dry) {}
  std::shared_ptr<unsigned char> allocate(std::int64_t bytes, const char* what);
  std::int64_t num_bytes() const { return num_bytes_; }
  bool dry() const { return dry_; }

 private:
  bool dry_;
  std::int64_t num_bytes_ = 0;
};

// Fills `to` with values of a standard deviation of 0.02, the same for the same seed.
void fill_random(void* to, DType type, std::int64_t count, std::uint64_t seed, Stream stream);

}  // namespace octavo::cuda

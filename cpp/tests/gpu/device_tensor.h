// Matrices of random or given values on the device, with the values that the element type really holds on the host.
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "cuda/device_matrix.h"
#include "cuda/memory.h"

namespace octavo::cuda {

inline float rounded(float x, DType type) {
  if (type == DType::bf16) return __bfloat162float(__float2bfloat16_rn(x));
  if (type == DType::f8) return static_cast<float>(f8(x));
  return type == DType::f16 ? __half2float(__float2half_rn(x)) : x;
}

// Largest error over the largest reference value that a kernel may have.
constexpr double kEightBits = 5e-2;  // of E4M3 keys and values
inline double tolerance(DType type) { return type == DType::f32 ? 1e-5 : type == DType::f16 ? 2e-3 : 1e-2; }

class DeviceTensor {
 public:
  DeviceTensor(std::int64_t rows, std::int64_t cols, DType type, float fill = NAN)
      : rows_(rows), cols_(cols), type_(type), memory_(device_array<unsigned char>(bytes() + 16, "a test's tensor")) {
    set(std::vector<float>(static_cast<std::size_t>(rows * cols), fill));
  }
  static DeviceTensor random(std::int64_t rows, std::int64_t cols, DType type, unsigned seed, float scale = 1.0f) {
    DeviceTensor made(rows, cols, type);
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    std::vector<float> values(static_cast<std::size_t>(rows * cols));
    for (float& value : values) value = rounded(normal(generator), type);
    made.set(values);
    return made;
  }

  void set(std::vector<float> values) {
    values_ = std::move(values);
    std::vector<unsigned char> raw(bytes());
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (type_ == DType::f32) reinterpret_cast<float*>(raw.data())[i] = values_[i];
      if (type_ == DType::f16) reinterpret_cast<half*>(raw.data())[i] = __float2half_rn(values_[i]);
      if (type_ == DType::bf16) reinterpret_cast<bf16*>(raw.data())[i] = __float2bfloat16_rn(values_[i]);
      if (type_ == DType::f8) reinterpret_cast<f8*>(raw.data())[i] = f8(values_[i]);
    }
    check(cudaMemcpy(memory_.get(), raw.data(), raw.size(), cudaMemcpyHostToDevice), "a test's tensor");
  }
  std::vector<float> get() const {
    std::vector<unsigned char> raw(bytes());
    check(cudaDeviceSynchronize(), "a test's kernel");
    check(cudaMemcpy(raw.data(), memory_.get(), raw.size(), cudaMemcpyDeviceToHost), "a test's tensor");
    std::vector<float> found(static_cast<std::size_t>(rows_ * cols_));
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (type_ == DType::f32) found[i] = reinterpret_cast<float*>(raw.data())[i];
      if (type_ == DType::f16) found[i] = __half2float(reinterpret_cast<half*>(raw.data())[i]);
      if (type_ == DType::bf16) found[i] = __bfloat162float(reinterpret_cast<bf16*>(raw.data())[i]);
      if (type_ == DType::f8) found[i] = static_cast<float>(reinterpret_cast<f8*>(raw.data())[i]);
    }
    return found;
  }

  DeviceMatrix view() const { return {memory_.get(), rows_, cols_, cols_, type_}; }
  DeviceMatrix columns(std::int64_t first, std::int64_t count) const {
    return {memory_.get() + first * static_cast<std::int64_t>(size_of(type_)), rows_, count, cols_, type_};
  }
  float at(std::int64_t row, std::int64_t col) const { return values_[static_cast<std::size_t>(row * cols_ + col)]; }
  const std::vector<float>& values() const { return values_; }
  const float* floats() const { return reinterpret_cast<const float*>(memory_.get()); }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(rows_ * cols_) * size_of(type_); }

  std::int64_t rows_, cols_;
  DType type_;
  DeviceArray<unsigned char> memory_;
  std::vector<float> values_;
};

class DeviceInts {
 public:
  explicit DeviceInts(const std::vector<std::int32_t>& values) : memory_(device_array<std::int32_t>(values.size(), "a test's integers")) {
    check(cudaMemcpy(memory_.get(), values.data(), values.size() * 4, cudaMemcpyHostToDevice), "a test's integers");
  }
  const std::int32_t* data() const { return memory_.get(); }

 private:
  DeviceArray<std::int32_t> memory_;
};

// The largest difference over the largest expected value; infinite where something is not a number.
inline double relative_error(const std::vector<float>& found, const std::vector<double>& expected) {
  double error = 0.0, largest = 1e-30;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(found[i])) return INFINITY;
    error = std::max(error, std::abs(found[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  return error / largest;
}

}  // namespace octavo::cuda

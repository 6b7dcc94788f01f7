// A matrix on the device: pointer, shape, row stride, element type. Launch functions take these and never own.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "base/error.h"

namespace octavo::cuda {

struct DeviceMatrix {
  void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  // elements from a row to the next
  DType type = DType::f32;

  std::int64_t row_bytes() const { return stride * static_cast<std::int64_t>(size_of(type)); }
  // Whether every row can be read in pieces of 16 bytes.
  bool in_vectors() const {
    const auto bytes = static_cast<std::int64_t>(size_of(type));
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride * bytes % 16 == 0 && cols * bytes % 16 == 0;
  }
};

}  // namespace octavo::cuda

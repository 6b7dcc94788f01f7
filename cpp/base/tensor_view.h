// A view of somebody else's memory: pointer, shape, row stride. Kernels take views and never own.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "base/error.h"

namespace octavo {

// A matrix [rows, cols] whose rows are contiguous and `stride` elements apart (stride >= cols).
template <typename T>
struct Matrix {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  Matrix() = default;
  Matrix(T* data_, std::int64_t rows_, std::int64_t cols_) : Matrix(data_, rows_, cols_, cols_) {}
  Matrix(T* data_, std::int64_t rows_, std::int64_t cols_, std::int64_t stride_) : data(data_), rows(rows_), cols(cols_), stride(stride_) {}
  template <typename U>  // Matrix<float> -> Matrix<const float>
  Matrix(const Matrix<U>& other) : Matrix(other.data, other.rows, other.cols, other.stride) {}

  T* row(std::int64_t index) const { return data + index * stride; }
  Matrix columns(std::int64_t start, std::int64_t count) const { return {data + start, rows, count, stride}; }
};

template <typename T>
struct Span {
  T* data = nullptr;
  std::int64_t size = 0;

  Span() = default;
  Span(T* data_, std::int64_t size_) : data(data_), size(size_) {}
  template <typename U>
  Span(const Span<U>& other) : Span(other.data, other.size) {}

  T& operator[](std::int64_t index) const { return data[index]; }
};

template <typename T, typename U>
void require_same_shape(const char* op, const Matrix<T>& x, const Matrix<U>& y) {
  require(x.rows == y.rows && x.cols == y.cols, op, ": shapes differ, [", x.rows, ", ", x.cols, "] and [", y.rows, ", ", y.cols, "]");
}

}  // namespace octavo

// numpy arrays as views: the one place that knows how Python hands memory over. No copy is made; a wrong dtype, rank or layout
// raises ValueError naming the argument.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "base/tensor_view.h"

namespace octavo {

namespace py = pybind11;

template <typename T>
void check_array(const py::array& array, const char* name, int rank) {
  require(py::isinstance<py::array_t<T>>(array), name, ": expected dtype ", std::string(py::str(py::dtype::of<T>())), ", got ",
          std::string(py::str(array.dtype())));
  require(array.ndim() == rank, name, ": expected ", rank, " dimensions, got ", array.ndim());
  require((array.flags() & py::array::c_style) != 0, name, ": must be C-contiguous");
}

template <typename T>
Matrix<const T> matrix_arg(const py::array& array, const char* name) {
  check_array<T>(array, name, 2);
  return {static_cast<const T*>(array.data()), array.shape(0), array.shape(1)};
}

template <typename T>
Span<const T> span_arg(const py::array& array, const char* name) {
  check_array<T>(array, name, 1);
  return {static_cast<const T*>(array.data()), array.shape(0)};
}

// A new array for a result, and the view through which an op writes it.
template <typename T>
struct OutputMatrix {
  py::array_t<T> array;
  Matrix<T> view;

  OutputMatrix(std::int64_t rows, std::int64_t cols) : array({rows, cols}), view(array.mutable_data(), rows, cols) {}
};

}  // namespace octavo

// Python sequences of ints, read once into flat int32 arrays. Lists and tuples are read in place.
#pragma once

#include <Python.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace octavo::bindings {

namespace py = pybind11;

constexpr std::int32_t kAnyInt = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kNotNegative = 0;

// A sequence's items: the sequence itself where it is a list or a tuple, else a list made of it. Raises TypeError naming it.
class Items {
 public:
  Items(py::handle sequence, const char* name) {
    const std::string message = std::string(name) + " must be a sequence";
    items_ = py::reinterpret_steal<py::object>(PySequence_Fast(sequence.ptr(), message.c_str()));
    if (!items_) throw py::error_already_set();
  }
  Py_ssize_t size() const { return PySequence_Fast_GET_SIZE(items_.ptr()); }
  PyObject* operator[](Py_ssize_t i) const { return PySequence_Fast_GET_ITEM(items_.ptr(), i); }

 private:
  py::object items_;
};

// Appends the ints of a sequence. Raises TypeError for what is no int, ValueError naming the entry that is not within min..2**31 - 1.
inline void append_ints(py::handle sequence, const char* name, std::int32_t min, std::vector<std::int32_t>& values) {
  constexpr std::int32_t max = std::numeric_limits<std::int32_t>::max();
  const Items items(sequence, name);
  values.reserve(values.size() + static_cast<std::size_t>(items.size()));
  for (Py_ssize_t i = 0; i < items.size(); ++i) {
    int overflow = 0;
    const long long value = PyLong_AsLongLongAndOverflow(items[i], &overflow);
    if (value == -1 && overflow == 0 && PyErr_Occurred() != nullptr) throw py::error_already_set();
    if (overflow != 0 || value < min || value > max) {
      throw py::value_error(std::string(name) + "[" + std::to_string(i) + "] is " + std::string(py::str(items[i])) +
                            "; it must be within " + std::to_string(min) + ".." + std::to_string(max));
    }
    values.push_back(static_cast<std::int32_t>(value));
  }
}

inline std::vector<std::int32_t> read_ints(py::handle sequence, const char* name, std::int32_t min) {
  std::vector<std::int32_t> values;
  append_ints(sequence, name, min, values);
  return values;
}

}  // namespace octavo::bindings

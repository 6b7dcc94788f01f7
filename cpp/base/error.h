// Errors of the data plane: std::invalid_argument for a caller's mistake (ValueError in Python), std::runtime_error otherwise.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace octavo {

template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  return text.str();
}

// require(rows == 3, "linear: x has ", rows, " rows, expected 3")
template <typename... Parts>
void require(bool condition, const Parts&... message) {
  if (!condition) throw std::invalid_argument(concat(message...));
}

}  // namespace octavo

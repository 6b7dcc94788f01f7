#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/int_sequence.h"
#include "bindings/runtime_module.h"
#include "text/detokenizer.h"
#include "text/stop_matcher.h"
#include "text/token_table.h"

namespace octavo::bindings {

using text::Detokenizer;
using text::StopMatcher;
using text::TokenTable;

namespace {

std::shared_ptr<TokenTable> make_token_table(py::handle pieces, py::handle special_ids, bool strip_leading_space) {
  const Items items(pieces, "pieces");
  std::vector<std::string_view> views(static_cast<std::size_t>(items.size()));
  for (Py_ssize_t i = 0; i < items.size(); ++i) {
    if (!PyBytes_Check(items[i])) throw py::type_error("pieces[" + std::to_string(i) + "] must be bytes");
    views[static_cast<std::size_t>(i)] = {PyBytes_AS_STRING(items[i]), static_cast<std::size_t>(PyBytes_GET_SIZE(items[i]))};
  }
  return std::make_shared<TokenTable>(views, read_ints(special_ids, "special_ids", kAnyInt), strip_leading_space);
}

std::unique_ptr<Detokenizer> make_detokenizer(std::shared_ptr<TokenTable> table, bool skip_special_tokens) {
  return std::make_unique<Detokenizer>(std::move(table), skip_special_tokens);
}

std::string push_tokens(Detokenizer& detokenizer, py::handle token_ids) {
  return detokenizer.push(read_ints(token_ids, "token_ids", kAnyInt));
}

std::pair<std::string, std::optional<std::string>> push_text(StopMatcher& matcher, std::string_view text) {
  text::StopMatch match = matcher.push(text);
  return {std::move(match.text), std::move(match.stop)};
}

}  // namespace

void bind_text(py::module_& module) {
  using py::literals::operator""_a;
  py::class_<TokenTable, std::shared_ptr<TokenTable>>(module, "TokenTable")
      .def(py::init(&make_token_table), "pieces"_a, "special_ids"_a, "strip_leading_space"_a);

  py::class_<Detokenizer>(module, "Detokenizer")
      .def(py::init(&make_detokenizer), "table"_a, "skip_special_tokens"_a)
      .def("push", &push_tokens, "token_ids"_a)
      .def("finish", &Detokenizer::finish);

  py::class_<StopMatcher>(module, "StopMatcher")
      .def(py::init<const std::vector<std::string>&, bool>(), "stops"_a, "include_stop"_a)
      .def("push", &push_text, "text"_a)
      .def("finish", &StopMatcher::finish)
      .def("fork", [](const StopMatcher& matcher) { return StopMatcher(matcher); });
}

}  // namespace octavo::bindings

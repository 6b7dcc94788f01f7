#include "program/graph.h"

#include "base/error.h"

namespace octavo::program {
namespace {

std::string list(const std::vector<ValueId>& values) {
  std::string text;
  for (ValueId x : values) text += concat(text.empty() ? "%" : ", %", x);
  return text;
}

std::string shape(const Graph& graph, ValueId x) {
  const Storage& storage = graph.storage_of(x);
  const std::string rows = graph.row_counts[static_cast<std::size_t>(storage.rows)];
  const std::string factor = storage.rows_factor == 1 ? "" : concat(" * ", storage.rows_factor);
  const std::string type = storage.type == ValueType::activation ? "" : concat(" ", name_of(storage.type));
  return concat("%", x, " [", rows, factor, ", ", graph.values[static_cast<std::size_t>(x)].cols, "]", type);
}

}  // namespace

std::string describe(const Graph& graph) {
  std::string text;
  for (const Op& op : graph.ops) {
    text += op.name + "(" + list(op.reads) + ")";
    for (std::size_t i = 0; i < op.writes.size(); ++i) text += (i ? ", " : " -> ") + shape(graph, op.writes[i]);
    text += "\n";
  }
  return text;
}

}  // namespace octavo::program

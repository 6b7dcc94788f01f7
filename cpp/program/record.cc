#include "program/record.h"

#include <algorithm>

namespace octavo::program {
namespace {

void require_value(const Graph& graph, const std::string& op, ValueId x) {
  require(x >= 0 && x < static_cast<int>(graph.values.size()), op, ": there is no value ", x);
}

// An op that is refused leaves nothing behind.
void infer(Graph& graph, const OpDef& def, Op& op) {
  const std::size_t num_values = graph.values.size(), num_storages = graph.storages.size();
  try {
    Infer infer(graph, op);
    def.infer(infer);
    infer.finish();
  } catch (const std::invalid_argument& error) {
    graph.values.resize(num_values);
    graph.storages.resize(num_storages);
    throw std::invalid_argument(concat(def.name, ": ", error.what()));
  }
}

}  // namespace

std::vector<ValueId> record(Graph& graph, const OpDef& def, std::vector<ValueId> reads, std::vector<std::shared_ptr<const Weight>> weights,
                            Attributes attributes, std::optional<int> cache) {
  for (ValueId x : reads) require_value(graph, def.name, x);
  require(!cache || (*cache >= 0 && *cache < static_cast<int>(graph.caches.size())), def.name, ": there is no cache ", cache.value_or(0));
  Op op{def.name, std::move(reads), {}, std::move(weights), std::move(attributes), cache};
  infer(graph, def, op);
  const int index = static_cast<int>(graph.ops.size());
  for (ValueId x : op.reads) {
    Storage& storage = graph.storages[static_cast<std::size_t>(graph.values[static_cast<std::size_t>(x)].storage)];
    storage.last_op = std::max(storage.last_op, index);
  }
  graph.ops.push_back(std::move(op));
  return graph.ops.back().writes;
}

ValueId record_columns(Graph& graph, ValueId x, std::int64_t first, std::int64_t count) {
  require_value(graph, "columns", x);
  const Value whole = graph.values[static_cast<std::size_t>(x)];
  require(first >= 0 && count > 0 && first + count <= whole.cols, "columns: ", first, " + ", count, " is beyond ", whole.cols);
  graph.values.push_back({whole.storage, whole.first_col + first, count});
  return static_cast<ValueId>(graph.values.size()) - 1;
}

int record_cache(Graph& graph, const CacheSpec& spec) {
  require(spec.kv_heads >= 1 && spec.head_dim >= 1, "cache: ", spec.kv_heads, " key/value heads of ", spec.head_dim, " elements");
  require(spec.latent_dim >= 0 && (spec.kind == CacheSpec::Kind::latent_kv) == (spec.latent_dim > 0) && spec.latent_dim < spec.head_dim,
          "cache: a latent of ", spec.latent_dim, " elements in vectors of ", spec.head_dim);
  require(!spec.window || *spec.window >= 1, "cache: the window must be at least 1");
  std::size_t group = 0;
  while (group < graph.cache_groups.size() && !(graph.cache_groups[group].spec == spec)) ++group;
  if (group == graph.cache_groups.size()) graph.cache_groups.push_back({spec, 0});
  graph.caches.push_back({static_cast<int>(group), graph.cache_groups[group].num_layers++});
  return static_cast<int>(graph.caches.size()) - 1;
}

int record_state(Graph& graph, std::int64_t num_elements) {
  require(num_elements >= 1, "state: it has ", num_elements, " elements");
  graph.states.push_back(num_elements);
  return static_cast<int>(graph.states.size()) - 1;
}

ValueId record_input(Graph& graph, const std::string& name, const std::string& rows, std::int64_t cols, ValueType type) {
  require(cols >= 1, "input ", name, ": it has ", cols, " columns");
  graph.storages.push_back({row_count(graph, rows), 1, cols, type, -1, -1});
  graph.values.push_back({static_cast<int>(graph.storages.size()) - 1, 0, cols});
  const auto x = static_cast<ValueId>(graph.values.size()) - 1;
  require(graph.inputs.emplace(name, x).second, "input ", name, ": it exists already");
  return x;
}

void record_output(Graph& graph, const std::string& name, ValueId x) {
  require_value(graph, name, x);
  const Value& value = graph.values[static_cast<std::size_t>(x)];
  require(value.first_col == 0 && value.cols == graph.storage_of(x).cols, "output ", name, ": only whole rows can be an output");
  require(graph.outputs.emplace(name, x).second, "output ", name, ": it exists already");
}

int row_count(Graph& graph, const std::string& name) {
  const auto found = std::find(graph.row_counts.begin(), graph.row_counts.end(), name);
  if (found != graph.row_counts.end()) return static_cast<int>(found - graph.row_counts.begin());
  graph.row_counts.push_back(name);
  return static_cast<int>(graph.row_counts.size()) - 1;
}

}  // namespace octavo::program

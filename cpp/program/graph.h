// A forward pass as data: which op reads and writes which values. A model records it once; each device lowers it to calls of its own.
//
//   model.forward(RecordOps) --record.h--> Graph --cpu_program.h--> calls on a thread pool
//                                                --a device's library--> launches on a stream
//
// Plain structs that hold no device code, so another shared library reads a graph through this header alone. A value is a matrix
// [rows, cols]. Its columns are known; its rows are a multiple of a named count ("tokens", "logits") that each step gives anew.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace octavo::program {

// `activation` is the type in which a device computes: float32 on processors, bfloat16 or float16 on most others.
enum class ValueType : std::uint8_t { activation, float32, int32 };

constexpr const char* name_of(ValueType type) {
  return type == ValueType::activation ? "activation" : type == ValueType::float32 ? "float32" : "int32";
}
constexpr std::int64_t bytes_of(ValueType type, std::int64_t activation_bytes) {
  return type == ValueType::activation ? activation_bytes : 4;
}

// A weight as a device holds it. The device's placement makes it, and only that device's lowering looks inside (dynamic_cast).
class Weight {
 public:
  virtual ~Weight() = default;
  virtual const char* kind() const = 0;  // "linear", "embedding", "array" or "experts"
  // linear [N, K]   embedding [V, E]   array: its sizes   experts [X, F, E]: X experts of gate_up [2F, E] and down [E, F]
  virtual std::vector<std::int64_t> shape() const = 0;
};

// Memory for whole rows. Ops are numbered; it is in use from the op that writes it to the last one that reads it, and that of an
// output until the next step.
struct Storage {
  int rows;                  // index into Graph::row_counts
  std::int64_t rows_factor;  // rows for each one counted: more than 1 where a token has several
  std::int64_t cols;
  ValueType type;
  int first_op;  // -1 of an input
  int last_op;
};

// A range of columns of a storage; all of them, or a view.
struct Value {
  int storage;
  std::int64_t first_col;
  std::int64_t cols;
};

// What one layer keeps of the tokens it has seen. Layers of equal specs form a group: they share block ids, hence block tables.
struct CacheSpec {
  enum class Kind : std::uint8_t { paged_kv, latent_kv };

  Kind kind = Kind::paged_kv;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;  // of latent_kv the whole vector of a token, whose first latent_dim elements are its value too
  std::optional<std::int64_t> window = std::nullopt;  // tokens that a query sees, its own included; all without one
  std::int64_t latent_dim = 0;

  friend bool operator==(const CacheSpec& a, const CacheSpec& b) {
    return a.kind == b.kind && a.kv_heads == b.kv_heads && a.head_dim == b.head_dim && a.window == b.window && a.latent_dim == b.latent_dim;
  }
};

struct CacheGroup {
  CacheSpec spec;
  int num_layers = 0;
};

struct Cache {
  int group;  // index into Graph::cache_groups
  int layer;  // among those of the group
};

using Attribute = std::variant<bool, std::int64_t, double, std::string>;

// An op's settings by name. One that is left out is absent. A getter throws std::invalid_argument for a value of another type.
class Attributes {
 public:
  Attributes() = default;
  explicit Attributes(std::map<std::string, Attribute> values) : values_(std::move(values)) {}

  const std::map<std::string, Attribute>& values() const { return values_; }
  bool has(const std::string& name) const { return values_.count(name) > 0; }
  bool flag(const std::string& name) const { return get<bool>(name, "a bool"); }
  std::int64_t integer(const std::string& name) const { return get<std::int64_t>(name, "an integer"); }
  const std::string& text(const std::string& name) const { return get<std::string>(name, "a string"); }
  double number(const std::string& name) const {
    return std::holds_alternative<std::int64_t>(at(name)) ? static_cast<double>(integer(name)) : get<double>(name, "a number");
  }
  std::optional<std::int64_t> integer_if(const std::string& name) const {
    return has(name) ? std::optional<std::int64_t>(integer(name)) : std::nullopt;
  }
  std::optional<double> number_if(const std::string& name) const { return has(name) ? std::optional<double>(number(name)) : std::nullopt; }

 private:
  const Attribute& at(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw std::invalid_argument("the attribute " + name + " is missing");
    return found->second;
  }
  template <typename T>
  const T& get(const std::string& name, const char* kind) const {
    const T* value = std::get_if<T>(&at(name));
    if (!value) throw std::invalid_argument("the attribute " + name + " must be " + kind);
    return *value;
  }

  std::map<std::string, Attribute> values_;
};

using ValueId = int;  // index into Graph::values

struct Op {
  std::string name;
  std::vector<ValueId> reads;
  std::vector<ValueId> writes;
  std::vector<std::shared_ptr<const Weight>> weights;  // null where an optional one is left out
  Attributes attributes;
  std::optional<int> cache = std::nullopt;  // index into Graph::caches
};

struct Graph {
  std::vector<std::string> row_counts;
  std::vector<Storage> storages;
  std::vector<Value> values;
  std::vector<Op> ops;  // in the order in which they are computed
  std::vector<CacheGroup> cache_groups;
  std::vector<Cache> caches;
  std::vector<std::int64_t> states;        // floats that a layer keeps for each running sequence; an op names one by its attribute "state"
  std::map<std::string, ValueId> inputs;   // written before a step
  std::map<std::string, ValueId> outputs;  // "logits", and what else is read after a step

  const Storage& storage_of(ValueId x) const { return storages[static_cast<std::size_t>(values[static_cast<std::size_t>(x)].storage)]; }
  const Cache& cache_of(const Op& op) const { return caches[static_cast<std::size_t>(op.cache.value())]; }
  const CacheSpec& cache_spec_of(const Op& op) const { return cache_groups[static_cast<std::size_t>(cache_of(op).group)].spec; }
};

// One line per op, for a person: "linear(%3) -> %4 [tokens, 576]".
std::string describe(const Graph& graph);

}  // namespace octavo::program

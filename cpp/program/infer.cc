#include <cctype>
#include <cstring>

#include "program/op_def.h"
#include "program/record.h"

namespace octavo::program {
namespace {

// "[R*top_k, 2*F]" -> {"R*top_k", "2*F"}; "R*top_k" -> {"R", "top_k"}.
std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else if (c != ' ' && c != '[' && c != ']') {
      parts.back() += c;
    }
  }
  return parts;
}

bool is_letter(const std::string& term) { return std::isupper(static_cast<unsigned char>(term[0])) != 0; }

}  // namespace

std::int64_t Infer::size(const std::string& letter) const {
  const auto found = sizes_.find(letter);
  require(found != sizes_.end(), letter, " is not known");
  return found->second;
}

std::int64_t Infer::word(const std::string& term) const {
  if (is_letter(term)) return size(term);
  return std::isdigit(static_cast<unsigned char>(term[0])) ? std::stoll(term) : integer(term);
}

// Whether a dimension can be `size`; binds its unbound letter, if there is one.
bool Infer::bind(const std::string& dimension, std::int64_t size) {
  std::int64_t known = 1;
  std::string unbound;
  for (const std::string& term : split(dimension, '*')) {
    if (is_letter(term) && sizes_.count(term) == 0) {
      unbound = term;
    } else {
      known *= word(term);
    }
  }
  if (unbound.empty()) return known == size;
  if (known < 1 || size % known != 0) return false;
  sizes_[unbound] = size / known;
  return true;
}

bool Infer::bind_rows(const std::string& dimension, const Storage& storage) {
  const std::vector<std::string> terms = split(dimension, '*');
  std::int64_t factor = 1;
  for (std::size_t i = 1; i < terms.size(); ++i) factor *= word(terms[i]);
  if (!is_letter(terms[0])) {
    return graph_.row_counts[static_cast<std::size_t>(storage.rows)] == terms[0] && storage.rows_factor == factor;
  }
  if (factor < 1 || storage.rows_factor % factor != 0) return false;
  const Rows rows{storage.rows, storage.rows_factor / factor};
  const Rows& bound = rows_.emplace(terms[0], rows).first->second;
  return bound.count == rows.count && bound.factor == rows.factor;
}

Infer::Rows Infer::rows_of(const std::string& dimension) {
  const std::vector<std::string> terms = split(dimension, '*');
  Rows rows = is_letter(terms[0]) ? rows_.at(terms[0]) : Rows{row_count(graph_, terms[0]), 1};
  for (std::size_t i = 1; i < terms.size(); ++i) rows.factor *= word(terms[i]);
  return rows;
}

std::int64_t Infer::size_of(const std::string& dimension) const {
  std::int64_t size = 1;
  for (const std::string& term : split(dimension, '*')) size *= word(term);
  return size;
}

std::string Infer::shape_text(const Value& value) const {
  const Storage& storage = graph_.storages[static_cast<std::size_t>(value.storage)];
  const std::string factor = storage.rows_factor == 1 ? "" : concat("*", storage.rows_factor);
  return concat("[", graph_.row_counts[static_cast<std::size_t>(storage.rows)], factor, ", ", value.cols, "]");
}

std::string Infer::bound_text() const {
  std::string text;
  for (const auto& [letter, size] : sizes_) text += concat(text.empty() ? " with " : ", ", letter, " = ", size);
  return text;
}

ValueType Infer::read(const char* name, const char* shape) {
  const ValueType type = read_any(name, shape);
  require(type != ValueType::int32, name, " is of type int32, expected floats");
  return type;
}

ValueType Infer::read_any(const char* name, const char* shape) {
  require(next_read_ < op_.reads.size(), name, " is missing");
  const Value value = graph_.values[static_cast<std::size_t>(op_.reads[next_read_])];
  const Storage& storage = graph_.storage_of(op_.reads[next_read_++]);
  const std::vector<std::string> dimensions = split(shape, ',');
  const std::string bound = bound_text();
  require(bind_rows(dimensions[0], storage) && bind(dimensions[1], value.cols), name, " is ", shape_text(value), ", expected ", shape,
          bound);
  return storage.type;
}

void Infer::read(const char* name, const char* shape, ValueType type) {
  const ValueType given = read_any(name, shape);
  require(given == type, name, " is of type ", name_of(given), ", expected ", name_of(type));
}

bool Infer::optional_weight(const char* name, const char* kind, const char* shape) {
  const bool given = next_weight_ < op_.weights.size() && op_.weights[next_weight_];
  if (given)
    weight(name, kind, shape);
  else
    ++next_weight_;
  return given;
}

void Infer::weight(const char* name, const char* kind, const char* shape) {
  require(next_weight_ < op_.weights.size() && op_.weights[next_weight_], "the weight ", name, " is missing");
  const Weight& weight = *op_.weights[next_weight_++];
  require(std::strcmp(weight.kind(), kind) == 0, name, " is a weight of kind ", weight.kind(), ", expected ", kind);
  const std::vector<std::string> dimensions = split(shape, ',');
  const std::vector<std::int64_t> sizes = weight.shape();
  const std::string bound = bound_text();
  bool fits = sizes.size() == dimensions.size();
  std::string text;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    fits = fits && bind(dimensions[i], sizes[i]);
    text += concat(i ? ", " : "", sizes[i]);
  }
  require(fits, name, " is [", text, "], expected ", shape, bound);
}

const CacheSpec& Infer::cache(CacheSpec::Kind kind) {
  require(op_.cache.has_value(), "the cache is missing");
  const CacheSpec& spec = graph_.cache_spec_of(op_);
  require(spec.kind == kind, "the cache is of another kind");
  uses_cache_ = true;
  return spec;
}

std::int64_t Infer::state() const {
  const std::int64_t index = integer("state");
  require(index >= 0 && index < static_cast<std::int64_t>(graph_.states.size()), "there is no state ", index);
  return graph_.states[static_cast<std::size_t>(index)];
}

void Infer::write(const char* shape, ValueType type) {
  const std::vector<std::string> dimensions = split(shape, ',');
  const Rows rows = rows_of(dimensions[0]);
  const std::int64_t cols = size_of(dimensions[1]);
  require(cols >= 1, "a result has ", cols, " columns");
  const int op = static_cast<int>(graph_.ops.size());
  graph_.storages.push_back({rows.count, rows.factor, cols, type, op, op});
  graph_.values.push_back({static_cast<int>(graph_.storages.size()) - 1, 0, cols});
  op_.writes.push_back(static_cast<ValueId>(graph_.values.size()) - 1);
}

void Infer::finish() const {
  require(next_read_ == op_.reads.size(), op_.reads.size(), " values to read, expected ", next_read_);
  require(next_weight_ >= op_.weights.size(), op_.weights.size(), " weights, expected ", next_weight_);
  require(uses_cache_ || !op_.cache, "it uses no cache");
}

}  // namespace octavo::program

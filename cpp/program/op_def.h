// What defines an op: its name, what it reads and writes, and how a processor computes it. One definition per op, in the op's folder
// (ops/<family>/<op>_op.cc); ops/op_table.cc lists them all.
//
// `infer` states the op's operands in the order in which they are recorded. Shapes are written with letters and words:
//
//   "[R, K]"              R any row count, K any number of columns; a letter is bound where it is first seen and checked ever after
//   "[tokens, H*head_dim]"  the rows named "tokens"; as many columns as a multiple of the attribute head_dim, H of them
//   "[R*top_k, 2*F]"      top_k rows for each of R; an even number of columns
//
// The first term of a value's rows is a letter (any count) or the name of a row count; every other word is an integer attribute.
// Of a product at most one factor may be unbound.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "base/error.h"
#include "program/graph.h"

namespace octavo::program {

class CpuLowering;  // cpu_lowering.h

// The checks and results of one op that is being recorded. What throws std::invalid_argument names the operand; record() adds the op.
class Infer {
 public:
  Infer(Graph& graph, Op& op) : graph_(graph), op_(op) {}

  const Attributes& attributes() const { return op_.attributes; }
  std::int64_t integer(const std::string& name) const { return op_.attributes.integer(name); }
  std::int64_t size(const std::string& letter) const;  // that a letter is bound to

  // The next value that the op reads, of floats or of the type given; returns its type.
  ValueType read(const char* name, const char* shape);
  void read(const char* name, const char* shape, ValueType type);
  // The next weight, of a kind as Weight::kind names them. `optional_weight`: whether it is given.
  void weight(const char* name, const char* kind, const char* shape);
  bool optional_weight(const char* name, const char* kind, const char* shape);
  // The cache that the op uses.
  const CacheSpec& cache(CacheSpec::Kind kind);
  // The floats of the state that the op's attribute "state" names.
  std::int64_t state() const;
  // Makes the next value that the op writes. No letter of it may be unbound.
  void write(const char* shape, ValueType type = ValueType::activation);

  template <typename... Parts>
  void check(bool condition, const Parts&... message) const {
    require(condition, message...);
  }
  // Throws when an operand was recorded that `infer` did not ask for.
  void finish() const;

 private:
  struct Rows {
    int count;
    std::int64_t factor;
  };
  ValueType read_any(const char* name, const char* shape);
  std::int64_t word(const std::string& term) const;
  bool bind(const std::string& dimension, std::int64_t size);
  bool bind_rows(const std::string& dimension, const Storage& storage);
  Rows rows_of(const std::string& dimension);
  std::int64_t size_of(const std::string& dimension) const;
  std::string shape_text(const Value& value) const;
  std::string bound_text() const;

  Graph& graph_;
  Op& op_;
  std::size_t next_read_ = 0;
  std::size_t next_weight_ = 0;
  bool uses_cache_ = false;
  std::map<std::string, Rows> rows_;
  std::map<std::string, std::int64_t> sizes_;
};

struct OpDef {
  const char* name;
  void (*infer)(Infer& op);
  void (*lower_cpu)(CpuLowering& op);  // null: the processor cannot compute it
};

// Defines op `name` for the table in ops/op_table.cc.
#define OCTAVO_DEFINE_OP(name, infer, lower_cpu) \
  extern const OpDef name##_op;                  \
  const OpDef name##_op { #name, infer, lower_cpu }

// Throws std::invalid_argument, listing the known ops, for another name. Defined in ops/op_table.cc.
const OpDef& op_def(const std::string& name);

}  // namespace octavo::program

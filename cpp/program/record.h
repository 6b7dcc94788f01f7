// How a graph is made: one function per kind of entry. All throw std::invalid_argument for operands that do not exist or do not fit.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "program/graph.h"
#include "program/op_def.h"

namespace octavo::program {

// Appends an op and returns the values that it writes.
std::vector<ValueId> record(Graph& graph, const OpDef& def, std::vector<ValueId> reads,
                            std::vector<std::shared_ptr<const Weight>> weights = {}, Attributes attributes = {},
                            std::optional<int> cache = std::nullopt);

// A view: columns first .. first + count - 1 of a value.
ValueId record_columns(Graph& graph, ValueId x, std::int64_t first, std::int64_t count);

// The cache of one more layer, in the group of its spec.
int record_cache(Graph& graph, const CacheSpec& spec);

// The state of one more layer, of float32 elements for each running sequence.
int record_state(Graph& graph, std::int64_t num_elements);

// A value that is written before a step: rows of a named count.
ValueId record_input(Graph& graph, const std::string& name, const std::string& rows, std::int64_t cols, ValueType type);

// Names a value, which must be whole rows, as a result of the graph: its memory is not reused within a step.
void record_output(Graph& graph, const std::string& name, ValueId x);

// The index of a row count, which is added where it is new.
int row_count(Graph& graph, const std::string& name);

}  // namespace octavo::program

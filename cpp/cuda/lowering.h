// Lowering: each op of a graph becomes launches over values whose addresses the arena fixes and whose row counts each step gives.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cuda/attention.h"
#include "cuda/blas.h"
#include "cuda/device_matrix.h"
#include "program/arena.h"
#include "program/graph.h"

namespace octavo::cuda {

// Arrays of the step under way, at fixed addresses on the device.
struct StepPointers {
  const std::int32_t* token_ids = nullptr;
  const std::int32_t* last_ids = nullptr;  // [max_num_seqs]
  const std::int32_t* logits_indices = nullptr;
  const std::int32_t* slot_mapping = nullptr;
  AttentionArrays attention;
};

// What a launch sees of a step.
class Frame {
 public:
  Frame(const program::Graph& graph, const program::ArenaLayout& layout, unsigned char* arena, DType activation)
      : graph_(graph), layout_(layout), arena_(arena), activation_(activation), row_counts_(graph.row_counts.size()) {}

  DeviceMatrix operator[](program::ValueId x) const;
  void* scratch(std::size_t index) const { return arena_ + layout_.scratch_offsets[index]; }
  void set_rows(const std::string& count, std::int64_t rows);

  Stream stream = nullptr;
  StepPointers step;
  bool measuring = false;  // products choose how they are computed: results are not looked at

 private:
  const program::Graph& graph_;
  const program::ArenaLayout& layout_;
  unsigned char* arena_;
  DType activation_;
  std::vector<std::int64_t> row_counts_;
};

using Run = std::function<void(const Frame&)>;

struct Launch {
  std::string name;
  Run run;
};

// What lowerings share of the device and the program.
struct LoweringContext {
  const program::Graph& graph;
  DType activation;
  DType kv;  // of the KV cache
  std::map<std::string, std::int64_t> row_limits;
  Products* products;                                          // null in a dry run, like what makes attention
  std::function<Attention*(const AttentionShape&)> attention;  // the backend that layers of this shape share
  std::function<const void*(int cache)> layer_pages;           // where a cache's pages lie; called when a launch runs
  std::function<void(program::ValueId, int op)> begins_at;     // the value's memory is its own from that op on, which writes it
};

// One op on its way to launches.
class OpLowering {
 public:
  OpLowering(const LoweringContext& context_, int index, std::vector<Launch>& launches, std::vector<program::Scratch>& scratch)
      : context(context_), op(context_.graph.ops[static_cast<std::size_t>(index)]), index_(index), launches_(launches), scratch_(scratch) {}

  const LoweringContext& context;
  const program::Op& op;

  program::ValueId read(std::size_t i) const { return op.reads.at(i); }
  program::ValueId write(std::size_t i = 0) const { return op.writes.at(i); }
  std::int64_t cols(program::ValueId x) const { return context.graph.values[static_cast<std::size_t>(x)].cols; }
  bool has_weight(std::size_t i) const { return i < op.weights.size() && op.weights[i] != nullptr; }
  template <typename W>
  const W& weight(std::size_t i) const {
    const W* found = has_weight(i) ? dynamic_cast<const W*>(op.weights[i].get()) : nullptr;
    require(found != nullptr, op.name, ": weight ", i, " was not placed on this device");
    return *found;
  }

  void launch(std::string name, Run run) { launches_.push_back({std::move(name), std::move(run)}); }
  // Memory of its own while the op runs; the index is for Frame::scratch.
  std::size_t scratch(std::int64_t num_bytes) {
    scratch_.push_back({index_, num_bytes});
    return scratch_.size() - 1;
  }

  // The op `distance` after this one, null past the end; ops that this lowering computes as well are taken.
  const program::Op* next(int distance) const;
  void take(int count) { taken_ = count; }
  int taken() const { return taken_; }
  // The value, which a later op writes in the graph, is written by this one.
  void write_here(program::ValueId x) const { context.begins_at(x, index_); }
  // Whether the value's memory is its own until that op has ended.
  bool lives_until(program::ValueId x, int distance) const { return context.graph.storage_of(x).last_op >= index_ + distance; }
  // Whether the value is read by op index() + distance and by nothing after it.
  bool read_last_by(program::ValueId x, int distance) const { return context.graph.storage_of(x).last_op == index_ + distance; }

 private:
  int index_;
  int taken_ = 0;
  std::vector<Launch>& launches_;
  std::vector<program::Scratch>& scratch_;
};

using LowerFunction = void (*)(OpLowering&);

// By op name. Throws std::invalid_argument, naming it, for an op that has no kernel on this device. Defined in op_table.cc.
LowerFunction lower_function(const std::string& name);

}  // namespace octavo::cuda

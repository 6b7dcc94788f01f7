// A graph's launches, and the steps that go through them on one stream.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "cuda/api.h"
#include "cuda/attention.h"
#include "cuda/lowering.h"
#include "cuda/memory.h"
#include "cuda/sampler.h"
#include "cuda/step_arrays.h"

namespace octavo::cuda {

class CudaProgram final : public Program {
 public:
  struct Setting {
    DType activation;
    Products* products;  // null: dry
    Stream stream;
  };
  CudaProgram(const program::Graph& graph, const ProgramLimits& limits, const Setting& setting);
  ~CudaProgram() override;
  CudaProgram(const CudaProgram&) = delete;
  CudaProgram& operator=(const CudaProgram&) = delete;

  std::int64_t num_bytes() const override;
  std::int64_t bytes_per_block() const override;
  void make_caches(std::int64_t num_blocks) override;
  void copy_block(std::int64_t source, std::int64_t destination) override;
  std::string describe() const override;
  Matrix<const float> run(const StepInput& step) override;
  bool can_sample() const override { return sampler_ != nullptr; }
  void start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens,
                 const RowSampling& sampling) override;
  void end_row(std::int64_t row) override;
  void append_tokens(std::int64_t row, Span<const std::int32_t> token_ids) override;
  void launch(const StepInput& step, Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows, bool host_logits) override {
    launch_forward(step, host_logits);
    launch_draws(rows, logits_rows, {nullptr, 0});
  }
  void launch_forward(const StepInput& step, bool host_logits) override;
  Matrix<std::int32_t> masks(std::int64_t count) override;
  void launch_draws(Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows, Span<const std::int32_t> masked) override;
  Result collect() override;
  bool finished() const override;
  bool prepare(std::int64_t num_tokens) override;

 private:
  struct GraphDeleter {
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  using GraphExec = std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, GraphDeleter>;
  struct Slot {  // of the ring: a step's arrays, and where its end is seen
    PinnedArray<std::int32_t> arrays;
    Event started = nullptr, finished = nullptr;
    PinnedArray<float> logits;
    std::int64_t logits_capacity = 0;
    Matrix<const float> host_logits;
    bool draws = false;
  };

  DType kv_type() const { return limits_.kv == "fp8" ? DType::f8 : setting_.activation; }
  bool dry() const { return setting_.products == nullptr; }
  void lower();
  Attention* attention_of(const AttentionShape& shape);
  const void* layer_pages(int cache) const;
  AttentionStep attention_step(const StepSizes& sizes, const std::int32_t* host, bool captured) const;
  Frame frame(const StepSizes& sizes) const;
  void copy_arrays(const StepSizes& sizes, const std::int32_t* from);
  bool may_replay(const StepSizes& sizes, const AttentionStep& step) const;
  void compute(const StepSizes& sizes, const Slot& slot);
  GraphExec record(const Frame& frame);
  void run_launches(const Frame& frame) const;
  void begin(const StepInput& step, Slot& slot, StepSizes& sizes);
  void copy_logits(const StepSizes& sizes, Slot& slot);
  DeviceMatrix logits(const StepSizes& sizes) const { return frame(sizes)[graph_.outputs.at("logits")]; }

  program::Graph graph_;
  ProgramLimits limits_;
  Setting setting_;
  StepLayout step_layout_;
  program::ArenaLayout arena_layout_;
  std::vector<Launch> launches_;
  std::vector<std::pair<AttentionShape, std::unique_ptr<Attention>>> attention_;
  DeviceArray<unsigned char> arena_;
  DeviceArray<std::int32_t> arrays_;
  std::vector<DeviceArray<unsigned char>> cache_groups_;  // pages of all layers of a group, one layer after the other
  std::int64_t num_blocks_ = 0;
  std::vector<std::int64_t> layer_bytes_;  // of the groups
  std::unique_ptr<DeviceSampler> sampler_;
  std::vector<Slot> slots_;
  std::deque<int> launched_;
  int next_slot_ = 0;
  std::optional<StepSizes> forward_;          // of the step whose forward pass is launched and whose draws are not
  std::map<std::int64_t, GraphExec> graphs_;  // of decode steps, by padded tokens
  std::set<std::int64_t> measured_;           // measured_rows() of steps whose products have chosen their algorithms
  struct Results;
  std::unique_ptr<Results> results_;
};

}  // namespace octavo::cuda

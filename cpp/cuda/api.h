// What liboctavo_cuda.so offers: devices, weights, and graphs lowered to programs. No header of the vendor's and no device code is needed
// to call it, so the caller links nothing: it opens the library and asks for `octavo_cuda_api`.
//
//   dlopen -> octavo_cuda_api(kApiVersion) -> Api -> open(..) -> Device -> place(..), lower(graph) -> Program -> launch, collect
//
// Errors: std::invalid_argument for a caller's mistake, std::bad_alloc (with a message) when the device's memory is used up,
// std::runtime_error for anything else. All calls on a device and what it made come from one thread at a time.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/tensor_view.h"
#include "program/graph.h"

namespace octavo {
struct RowSampling;
struct SampledToken;
}  // namespace octavo

namespace octavo::cuda {

constexpr int kApiVersion = 6;

struct LibraryInfo {
  std::string version;        // Octavo's
  std::string architectures;  // that it was built for, as CMake writes them: "90a-real;80-virtual"
  int runtime_version = 0;    // of CUDA: 13000 is 13.0
  int driver_version = 0;     // newest CUDA that the driver runs; 0: there is no driver
  bool flashinfer = false;
};

struct DeviceInfo {
  std::string name;
  int capability = 0;  // 90 is 9.0
  int multiprocessors = 0;
  std::int64_t total_bytes = 0;
};

struct MemoryInfo {
  std::int64_t free_bytes = 0;  // as the driver sees it, other processes included
  std::int64_t total_bytes = 0;
  std::int64_t weight_bytes = 0;  // of this device's weights
};

// A matrix's rows as the checkpoint stores them, on the host; `format` is a name of octavo's weight formats.
struct HostRows {
  const std::uint8_t* data = nullptr;
  std::string format;
  std::int64_t rows = 0;
};

struct ProgramLimits {
  std::int64_t max_num_seqs = 1;
  std::int64_t max_num_tokens = 1;
  std::int64_t max_num_logits = 1;
  std::int64_t max_model_len = 1;
  std::int64_t block_size = 16;
  std::string attention = "auto";  // auto, flashinfer or paged
  std::string kv = "auto";         // of the KV cache: auto, the activations' type, or fp8 (E4M3)
  bool graphs = true;              // decode steps are captured and replayed
};

// One step, on the host. T tokens, R sequences, L logits rows, M blocks of the longest sequence.
struct StepInput {
  Span<const std::int32_t> token_ids;       // [T]; ~row stands for the row's last drawn token
  Span<const std::int32_t> positions;       // [T]
  Span<const std::int32_t> slot_mapping;    // [T]
  Span<const std::int32_t> query_indptr;    // [R + 1]
  Span<const std::int32_t> context_lens;    // [R]
  Matrix<const std::int32_t> block_tables;  // [R, M]
  Span<const std::int32_t> logits_indices;  // [L]
};

class Program {
 public:
  virtual ~Program() = default;

  virtual std::int64_t num_bytes() const = 0;                                  // on the device: arena, arrays, workspaces
  virtual std::int64_t bytes_per_block() const = 0;                            // of all layers' pages of one block
  virtual void make_caches(std::int64_t num_blocks) = 0;                       // once, before the first step
  virtual void copy_block(std::int64_t source, std::int64_t destination) = 0;  // the pages of every layer, in the order of the steps
  virtual std::string describe() const = 0;                                    // one line per launch

  // A step whose logits [L, V] come to the host; valid until the next step.
  virtual Matrix<const float> run(const StepInput& step) = 0;

  // Sampling on the device; false: this build has no sampler, and the three below throw.
  virtual bool can_sample() const = 0;
  virtual void start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens,
                         const RowSampling& sampling) = 0;
  virtual void end_row(std::int64_t row) = 0;
  // Tokens that the row has without having drawn them; no step that draws for it is launched and not collected.
  virtual void append_tokens(std::int64_t row, Span<const std::int32_t> token_ids) = 0;

  // Begins a step that draws a token for each of `rows`, from rows logits_rows[i] of its logits. At most kDepth steps are launched and
  // not collected. `host_logits`: the logits come to the host too.
  static constexpr int kDepth = 2;
  virtual void launch(const StepInput& step, Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows, bool host_logits) = 0;
  // The same in parts, so that masks are made while the device computes: the forward pass; pinned memory [count, ceil(V / 32)] for a
  // set bit for each token that may be drawn; the draws, of which draw masked[i] keeps to mask i.
  virtual void launch_forward(const StepInput& step, bool host_logits) = 0;
  virtual Matrix<std::int32_t> masks(std::int64_t count) = 0;
  virtual void launch_draws(Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows, Span<const std::int32_t> masked) = 0;
  struct Result {
    std::vector<SampledToken>* tokens = nullptr;  // in the order of rows; valid until the next collect
    Matrix<const float> logits;                   // where they were asked for; valid until kDepth more steps are launched
    double device_ms = 0.0;
  };
  virtual Result collect() = 0;       // of the oldest step that is launched; waits for it
  virtual bool finished() const = 0;  // whether collect() would not wait

  // Does before it is needed what the first step of `num_tokens` would do: products choose their algorithms, the graph of a decode step is
  // captured. False where nothing is left to do, or a step is launched.
  virtual bool prepare(std::int64_t num_tokens) = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceInfo& info() const = 0;
  virtual MemoryInfo memory() const = 0;
  virtual std::string products() const = 0;  // which library multiplies: "cuBLASLt 13.1.0" or "own kernels"

  // Weights in the activations' type, whatever their format. Parts stack along rows.
  virtual std::shared_ptr<const program::Weight> place_linear(const std::vector<HostRows>& parts, std::int64_t cols) = 0;
  virtual std::shared_ptr<const program::Weight> place_embedding(const HostRows& table, std::int64_t cols) = 0;
  // The matrix of an embedding as that of an output head that is tied to it; no memory is taken.
  virtual std::shared_ptr<const program::Weight> as_linear(const std::shared_ptr<const program::Weight>& table) = 0;
  virtual std::shared_ptr<const program::Weight> place_array(const float* values, const std::vector<std::int64_t>& shape) = 0;
  // Mixture of experts of placed matrices: gate_up [2F, E] and down [E, F] of each, all of one shape.
  virtual std::shared_ptr<const program::Weight> join_experts(const std::vector<std::shared_ptr<const program::Weight>>& gate_up,
                                                              const std::vector<std::shared_ptr<const program::Weight>>& down) = 0;
  // The same made up on the device, values of a standard deviation of 0.02, to time a model without having it.
  virtual std::shared_ptr<const program::Weight> random_linear(std::int64_t rows, std::int64_t cols, std::uint64_t seed) = 0;
  virtual std::shared_ptr<const program::Weight> random_embedding(std::int64_t rows, std::int64_t cols, std::uint64_t seed) = 0;

  virtual std::unique_ptr<Program> lower(const program::Graph& graph, const ProgramLimits& limits) = 0;

  // How products are computed, measured on this kind of device: text that a later start gives back.
  virtual std::string measured() const = 0;
  virtual void set_measured(const std::string& text) = 0;
};

struct OpenOptions {
  int index = 0;
  DType activation = DType::bf16;            // bf16, f16 or f32
  std::vector<std::string> blas_paths = {};  // where cuBLASLt may be, best first
  // Every row of a step is computed in the same way whatever else is in the step: same bits in any batch, in any chunks, cached or not.
  bool deterministic = false;
  bool dry = false;  // no GPU: weights have shapes only, programs describe themselves and cannot run
};

class Api {
 public:
  virtual ~Api() = default;
  virtual LibraryInfo info() const = 0;
  virtual std::vector<DeviceInfo> devices() const = 0;  // empty where there is no driver or no GPU
  virtual std::unique_ptr<Device> open(const OpenOptions& options) const = 0;
};

}  // namespace octavo::cuda

extern "C" {
// Null for another version than the library's.
using octavo_cuda_api_function = const octavo::cuda::Api* (*)(int version);
}

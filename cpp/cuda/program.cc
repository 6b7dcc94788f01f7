#include "cuda/program.h"

#include <algorithm>

#include "cuda/check.h"
#include "sampling/sampler.h"

namespace octavo::cuda {
namespace {

constexpr std::int64_t kArenaAlignment = 256;
constexpr std::int64_t kMostGraphTokens = 512;
// Rows of a token in a page: a key and a value of each head, or one latent.
std::int64_t rows_of(const program::CacheSpec& spec) { return spec.kind == program::CacheSpec::Kind::latent_kv ? 1 : 2 * spec.kv_heads; }

// A step of sequences of `length` tokens, the last one shorter, whose keys and values go nowhere.
struct MadeUpStep {
  MadeUpStep(std::int64_t num_tokens, std::int64_t length)
      : zeros(static_cast<std::size_t>(num_tokens), 0), nowhere(static_cast<std::size_t>(num_tokens), -1) {
    for (std::int64_t at = 0; at < num_tokens; at += length) {
      const std::int64_t end = std::min(at + length, num_tokens);
      for (std::int64_t position = 0; position < end - at; ++position) positions.push_back(static_cast<std::int32_t>(position));
      lengths.push_back(static_cast<std::int32_t>(end - at));
      indptr.push_back(static_cast<std::int32_t>(end));
      last.push_back(static_cast<std::int32_t>(end - 1));
    }
    const auto num_rows = static_cast<std::int64_t>(lengths.size()), num_blocks = (length - 1) / kPageTokens + 1;
    tables.assign(static_cast<std::size_t>(num_rows * num_blocks), 0);
    step.token_ids = {zeros.data(), num_tokens};
    step.positions = {positions.data(), num_tokens};
    step.slot_mapping = {nowhere.data(), num_tokens};
    step.query_indptr = {indptr.data(), num_rows + 1};
    step.context_lens = {lengths.data(), num_rows};
    step.block_tables = {tables.data(), num_rows, num_blocks};
    step.logits_indices = {last.data(), num_rows};
  }
  MadeUpStep(const MadeUpStep&) = delete;
  MadeUpStep& operator=(const MadeUpStep&) = delete;

  std::vector<std::int32_t> zeros, nowhere, positions, lengths, indptr{0}, last, tables;
  StepInput step;
};

}  // namespace

struct CudaProgram::Results {
  std::vector<SampledToken> tokens;
};

CudaProgram::CudaProgram(const program::Graph& graph, const ProgramLimits& limits, const Setting& setting)
    : graph_(graph), limits_(limits), setting_(setting), step_layout_(limits), results_(std::make_unique<Results>()) {
  require(limits.block_size == kPageTokens, "a GPU's KV blocks hold ", kPageTokens, " tokens, not ", limits.block_size);
  require(limits.kv == "auto" || limits.kv == "fp8", "the KV cache is auto (the activations' type) or fp8, not ", limits.kv);
  require(limits.kv == "auto" || setting.activation != DType::f32, "an fp8 KV cache needs bf16 or fp16 activations");
  require(graph_.outputs.count("logits") == 1, "the graph has no output named logits");
  lower();
  if (dry()) return;
  arena_ = device_array<unsigned char>(static_cast<std::size_t>(arena_layout_.num_bytes), "activations");
  arrays_ = device_array<std::int32_t>(static_cast<std::size_t>(step_layout_.num_elements), "the arrays of a step");
  check(cudaMemsetAsync(arena_.get(), 0, static_cast<std::size_t>(arena_layout_.num_bytes), setting_.stream), "activations");
  const std::int64_t vocab_size = graph_.values[static_cast<std::size_t>(graph_.outputs.at("logits"))].cols;
  sampler_ = make_device_sampler(limits.max_num_seqs, step_layout_.max_logits, vocab_size, kDepth);
  slots_.resize(kDepth);
  for (Slot& slot : slots_) {
    slot.arrays = pinned_array<std::int32_t>(static_cast<std::size_t>(step_layout_.num_elements), "the arrays of a step");
    check(cudaEventCreate(&slot.started), "cudaEventCreate");
    check(cudaEventCreate(&slot.finished), "cudaEventCreate");
  }
}

CudaProgram::~CudaProgram() {
  if (!dry()) cudaStreamSynchronize(setting_.stream);
  for (Slot& slot : slots_) {
    if (slot.started) cudaEventDestroy(slot.started);
    if (slot.finished) cudaEventDestroy(slot.finished);
  }
}

// ---- building -----------------------------------------------------------------------------------------------------------------

void CudaProgram::lower() {
  const LoweringContext context{
      graph_,
      setting_.activation,
      kv_type(),
      {{"tokens", step_layout_.max_tokens}, {"logits", step_layout_.max_logits}, {"sequences", step_layout_.max_rows}},
      setting_.products,
      [this](const AttentionShape& shape) { return attention_of(shape); },
      [this](int cache) { return layer_pages(cache); },
      [this](program::ValueId x, int op) {
        const int storage = graph_.values[static_cast<std::size_t>(x)].storage;
        graph_.storages[static_cast<std::size_t>(storage)].first_op = op;
      }};
  std::vector<program::Scratch> scratch;
  for (int index = 0; index < static_cast<int>(graph_.ops.size());) {
    OpLowering op(context, index, launches_, scratch);
    lower_function(op.op.name)(op);
    index += 1 + op.taken();
  }
  arena_layout_ =
      program::lay_out(graph_, context.row_limits, static_cast<std::int64_t>(size_of(setting_.activation)), kArenaAlignment, scratch);
}

Attention* CudaProgram::attention_of(const AttentionShape& shape) {
  for (const auto& [known, backend] : attention_) {
    if (known == shape) return backend.get();
  }
  std::unique_ptr<Attention> backend;
  if (!dry()) {
    const AttentionLimits limits{static_cast<int>(limits_.max_num_seqs), static_cast<int>(step_layout_.max_tokens),
                                 static_cast<int>(limits_.max_model_len), setting_.products->deterministic()};
    std::string why_not;
    if (limits_.attention != "paged") backend = make_flashinfer_attention(shape, limits, why_not);
    require(backend || limits_.attention != "flashinfer", "--attention flashinfer: ", why_not);
    if (!backend) backend = make_paged_attention(shape, limits);
  }
  attention_.emplace_back(shape, std::move(backend));
  return attention_.back().second.get();
}

std::int64_t CudaProgram::bytes_per_block() const {
  std::int64_t bytes = 0;
  for (const program::CacheGroup& group : graph_.cache_groups) {
    bytes += group.num_layers * rows_of(group.spec) * kPageTokens * group.spec.head_dim * static_cast<std::int64_t>(size_of(kv_type()));
  }
  return bytes;
}

void CudaProgram::make_caches(std::int64_t num_blocks) {
  require(cache_groups_.empty() && !dry(), "the caches exist, or this program is dry");
  num_blocks_ = num_blocks;
  for (const program::CacheGroup& group : graph_.cache_groups) {
    layer_bytes_.push_back(num_blocks * rows_of(group.spec) * kPageTokens * group.spec.head_dim *
                           static_cast<std::int64_t>(size_of(kv_type())));
    const auto bytes = static_cast<std::size_t>(layer_bytes_.back() * group.num_layers);
    cache_groups_.push_back(device_array<unsigned char>(bytes, "the KV cache"));
    // Pages are read whole by some kernels, so what was never written must be finite.
    check(cudaMemsetAsync(cache_groups_.back().get(), 0, bytes, setting_.stream), "the KV cache");
  }
}

void CudaProgram::copy_block(std::int64_t source, std::int64_t destination) {
  require(source >= 0 && source < num_blocks_ && destination >= 0 && destination < num_blocks_, "copy_block: ", source, " to ", destination,
          " of ", num_blocks_, " blocks");
  for (std::size_t group = 0; group < cache_groups_.size(); ++group) {  // all layers share one block table
    const auto pitch = static_cast<std::size_t>(layer_bytes_[group]), bytes = pitch / static_cast<std::size_t>(num_blocks_);
    unsigned char* base = cache_groups_[group].get();
    check(cudaMemcpy2DAsync(base + static_cast<std::size_t>(destination) * bytes, pitch, base + static_cast<std::size_t>(source) * bytes,
                            pitch, bytes, static_cast<std::size_t>(graph_.cache_groups[group].num_layers), cudaMemcpyDeviceToDevice,
                            setting_.stream),
          "a block's copy");
  }
}

const void* CudaProgram::layer_pages(int cache) const {
  const program::Cache& found = graph_.caches[static_cast<std::size_t>(cache)];
  const auto group = static_cast<std::size_t>(found.group);
  return cache_groups_[group].get() + layer_bytes_[group] * found.layer;
}

std::int64_t CudaProgram::num_bytes() const {
  std::int64_t bytes = arena_layout_.num_bytes + step_layout_.num_elements * 4;
  for (const auto& [shape, backend] : attention_) bytes += backend ? backend->num_bytes() : 0;
  return bytes + (sampler_ ? sampler_->num_bytes() : 0);
}

std::string CudaProgram::describe() const {
  std::string text;
  for (const Launch& launch : launches_) text += launch.name + "\n";
  return text;
}

// ---- steps --------------------------------------------------------------------------------------------------------------------

Frame CudaProgram::frame(const StepSizes& sizes) const {
  Frame frame(graph_, arena_layout_, arena_.get(), setting_.activation);
  frame.stream = setting_.stream;
  frame.step = pointers(step_layout_, arrays_.get());
  frame.step.last_ids = sampler_->last_ids();
  frame.set_rows("tokens", sizes.padded_tokens);
  frame.set_rows("logits", sizes.padded_logits);
  frame.set_rows("sequences", sizes.num_rows);
  return frame;
}

AttentionStep CudaProgram::attention_step(const StepSizes& sizes, const std::int32_t* host, bool captured) const {
  AttentionStep step;
  step.host = pointers(step_layout_, host).attention;
  step.device = pointers(step_layout_, arrays_.get()).attention;
  step.num_rows = static_cast<int>(sizes.num_rows);
  step.num_tokens = static_cast<int>(captured ? sizes.padded_tokens : sizes.num_tokens);
  step.max_blocks = static_cast<int>(step_layout_.max_blocks);
  step.max_query_len = sizes.max_query_len;
  step.max_context_len = sizes.max_context_len;
  step.captured = captured;
  return step;
}

void CudaProgram::copy_arrays(const StepSizes& sizes, const std::int32_t* from) {
  const auto bytes = [](std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(std::int32_t); };
  check(cudaMemcpyAsync(arrays_.get(), from, bytes(step_layout_.block_tables), cudaMemcpyHostToDevice, setting_.stream), "a step's arrays");
  const std::size_t pitch = bytes(step_layout_.max_blocks);
  check(cudaMemcpy2DAsync(arrays_.get() + step_layout_.block_tables, pitch, from + step_layout_.block_tables, pitch,
                          bytes(sizes.used_blocks), static_cast<std::size_t>(sizes.num_rows), cudaMemcpyHostToDevice, setting_.stream),
        "a step's block tables");
}

bool CudaProgram::may_replay(const StepSizes& sizes, const AttentionStep& step) const {
  if (!limits_.graphs || !sizes.decode || sizes.padded_tokens > kMostGraphTokens) return false;
  return std::all_of(attention_.begin(), attention_.end(), [&](const auto& entry) { return entry.second->can_capture(step); });
}

void CudaProgram::run_launches(const Frame& frame) const {
  for (const Launch& launch : launches_) launch.run(frame);
}

CudaProgram::GraphExec CudaProgram::record(const Frame& frame) {
  Frame measuring = frame;
  measuring.measuring = true;
  run_launches(measuring);  // chooses algorithms and loads kernels, which a capture cannot
  setting_.products->finish_measuring();
  check(cudaStreamSynchronize(setting_.stream), "a step before its capture");
  check(cudaStreamBeginCapture(setting_.stream, cudaStreamCaptureModeThreadLocal), "begin capture");
  cudaGraph_t graph = nullptr;
  try {
    run_launches(frame);
  } catch (...) {
    cudaStreamEndCapture(setting_.stream, &graph);
    if (graph) cudaGraphDestroy(graph);
    throw;
  }
  check(cudaStreamEndCapture(setting_.stream, &graph), "end capture");
  cudaGraphExec_t made = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&made, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "instantiate a graph");
  return GraphExec(made);
}

void CudaProgram::compute(const StepSizes& sizes, const Slot& slot) {
  AttentionStep step = attention_step(sizes, slot.arrays.get(), true);
  const bool replay = may_replay(sizes, step);
  if (!replay) step = attention_step(sizes, slot.arrays.get(), false);
  for (const auto& [shape, backend] : attention_) backend->plan(step, setting_.stream);
  Frame bound = frame(sizes);
  if (!replay) {
    bound.measuring = measured_.insert(measured_rows(sizes.padded_tokens)).second;  // the first step of its size pays for all
    run_launches(bound);
    if (bound.measuring) setting_.products->finish_measuring();
    return;
  }
  GraphExec& graph = graphs_[sizes.padded_tokens];
  if (!graph) graph = record(bound);
  check(cudaGraphLaunch(graph.get(), setting_.stream), "launch a graph");
}

void CudaProgram::begin(const StepInput& step, Slot& slot, StepSizes& sizes) {
  require(!dry() && !cache_groups_.empty(), "the program has no caches yet");
  sizes = sizes_of(step, step_layout_);
  write_step(step, sizes, step_layout_, slot.arrays.get());
  check(cudaEventRecord(slot.started, setting_.stream), "a step's start");
  copy_arrays(sizes, slot.arrays.get());
  compute(sizes, slot);
}

void CudaProgram::copy_logits(const StepSizes& sizes, Slot& slot) {
  const DeviceMatrix found = logits(sizes);
  if (slot.logits_capacity < sizes.num_logits * found.cols) {
    slot.logits_capacity = sizes.padded_logits * found.cols;
    slot.logits = pinned_array<float>(static_cast<std::size_t>(slot.logits_capacity), "logits on the host");
  }
  check(cudaMemcpyAsync(slot.logits.get(), found.data, static_cast<std::size_t>(sizes.num_logits * found.cols) * sizeof(float),
                        cudaMemcpyDeviceToHost, setting_.stream),
        "logits to the host");
  slot.host_logits = {slot.logits.get(), sizes.num_logits, found.cols};
}

Matrix<const float> CudaProgram::run(const StepInput& step) {
  require(launched_.empty(), "run() while a step is launched");
  Slot& slot = slots_[0];
  StepSizes sizes;
  begin(step, slot, sizes);
  copy_logits(sizes, slot);
  check(cudaStreamSynchronize(setting_.stream), "a step on the GPU");
  return slot.host_logits;
}

void CudaProgram::start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens,
                            const RowSampling& sampling) {
  require(can_sample(), "this build draws no tokens on the GPU");
  sampler_->start_row(row, token_ids, num_prompt_tokens, sampling, setting_.stream);
}

void CudaProgram::end_row(std::int64_t row) {
  require(can_sample(), "this build draws no tokens on the GPU");
  sampler_->end_row(row);
}

void CudaProgram::append_tokens(std::int64_t row, Span<const std::int32_t> token_ids) {
  require(can_sample(), "this build draws no tokens on the GPU");
  sampler_->append(row, token_ids, setting_.stream);
}

void CudaProgram::launch_forward(const StepInput& step, bool host_logits) {
  require(can_sample(), "this build draws no tokens on the GPU");
  require(launched_.size() < static_cast<std::size_t>(kDepth), kDepth, " steps are launched and not collected");
  Slot& slot = slots_[static_cast<std::size_t>(next_slot_)];
  StepSizes sizes;
  begin(step, slot, sizes);
  slot.host_logits = {};
  if (host_logits) copy_logits(sizes, slot);
  forward_ = sizes;
}

Matrix<std::int32_t> CudaProgram::masks(std::int64_t count) {
  require(forward_.has_value(), "masks: no forward pass is launched");
  return sampler_->masks(count, next_slot_);
}

void CudaProgram::launch_draws(Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows, Span<const std::int32_t> masked) {
  require(forward_.has_value(), "launch_draws: no forward pass is launched");
  Slot& slot = slots_[static_cast<std::size_t>(next_slot_)];
  slot.draws = rows.size > 0;
  if (slot.draws) sampler_->launch(logits(*forward_), rows, logits_rows, masked, next_slot_, setting_.stream);
  check(cudaEventRecord(slot.finished, setting_.stream), "a step's end");
  forward_.reset();
  launched_.push_back(next_slot_);
  next_slot_ = (next_slot_ + 1) % kDepth;
}

Program::Result CudaProgram::collect() {
  require(!launched_.empty(), "no step is launched");
  const int index = launched_.front();
  launched_.pop_front();
  Slot& slot = slots_[static_cast<std::size_t>(index)];
  check(cudaEventSynchronize(slot.finished), "a step on the GPU");
  float ms = 0.0f;
  check(cudaEventElapsedTime(&ms, slot.started, slot.finished), "cudaEventElapsedTime");
  results_->tokens = slot.draws ? sampler_->collect(index) : std::vector<SampledToken>();
  return {&results_->tokens, slot.host_logits, ms};
}

bool CudaProgram::finished() const {
  require(!launched_.empty(), "no step is launched");
  const cudaError_t status = cudaEventQuery(slots_[static_cast<std::size_t>(launched_.front())].finished);
  if (status == cudaErrorNotReady) return false;
  check(status, "a step on the GPU");
  return true;
}

bool CudaProgram::prepare(std::int64_t num_tokens) {
  const std::int64_t padded = std::min(padded_rows(num_tokens), step_layout_.max_tokens);
  const bool captures = limits_.graphs && padded <= std::min(kMostGraphTokens, step_layout_.max_rows);
  if (!launched_.empty() || (captures ? graphs_.count(padded) : measured_.count(measured_rows(padded))) > 0) return false;
  const MadeUpStep made(padded, captures ? 1 : std::min<std::int64_t>(padded, limits_.max_model_len));
  if (made.step.context_lens.size > step_layout_.max_rows) return false;
  StepSizes sizes;
  begin(made.step, slots_[0], sizes);
  check(cudaStreamSynchronize(setting_.stream), "a step that prepares others");
  return true;
}

}  // namespace octavo::cuda

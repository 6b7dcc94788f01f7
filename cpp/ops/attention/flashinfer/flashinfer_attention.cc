// FlashInfer's kernels behind the contract of cuda/attention.h: planned by ops/attention/device_plan.h, run instance by instance.
#include <array>
#include <string>

#include "base/error.h"
#include "cuda/attention.h"
#include "cuda/check.h"
#include "cuda/memory.h"
#include "flashinfer_unit_table.h"
#include "ops/attention/device_plan.h"
#include "ops/attention/flashinfer/units.h"
#include "ops/attention/tile_attention_cuda.h"

namespace octavo::cuda {
namespace {

using namespace flashinfer_units;

constexpr int kNumSlots = 4;                                    // plans that may be under way: two steps, and one that is made meanwhile
constexpr int kShortestFixedChunk = 512, kMostFixedChunks = 8;  // of a context, deterministic
constexpr int kMinHopperQueries = 64;  // below, the template that packs a group's heads into a tile reads keys less often

int round_up_to_pages(int tokens) { return (tokens + kPageTokens - 1) / kPageTokens * kPageTokens; }

const Fa2Unit* find_fa2(const AttentionShape& shape) {
  for (const Fa2Unit* unit : kFa2Units) {
    if (unit->activation == shape.activation && unit->kv == shape.kv && unit->head_dim == shape.head_dim &&
        unit->softcap == (shape.softcap > 0.0f)) {
      return unit;
    }
  }
  return nullptr;
}

const HopperUnit* find_hopper(const AttentionShape& shape) {
  for (const HopperUnit* unit : kHopperUnits) {
    if (unit->activation == shape.activation && unit->activation == shape.kv && unit->head_dim == shape.head_dim &&
        unit->softcap == (shape.softcap > 0.0f) && unit->window == (shape.window > 0)) {
      return unit;
    }
  }
  return nullptr;
}

struct Gpu {
  int major = 0, minor = 0, num_processors = 0;

  static Gpu current() {
    Gpu gpu;
    int device = 0;
    check(cudaGetDevice(&device), "GPU");
    check(cudaDeviceGetAttribute(&gpu.major, cudaDevAttrComputeCapabilityMajor, device), "GPU");
    check(cudaDeviceGetAttribute(&gpu.minor, cudaDevAttrComputeCapabilityMinor, device), "GPU");
    check(cudaDeviceGetAttribute(&gpu.num_processors, cudaDevAttrMultiProcessorCount, device), "GPU");
    return gpu;
  }
};

class FlashInferAttention final : public Attention {
 public:
  FlashInferAttention(const AttentionShape& shape, const DevicePlanShape& plan_shape, const Fa2Unit& fa2, const HopperUnit* hopper)
      : shape_(shape),
        plan_shape_(plan_shape),
        fa2_(fa2),
        hopper_(hopper),
        own_tiles_(tile_attention_takes(shape)),
        planner_(plan_shape),
        capacity_(device_plan_capacity(plan_shape)),
        partial_rows_(device_plan_partial_rows(plan_shape)),
        device_plan_(device_array<std::int32_t>(static_cast<std::size_t>(capacity_), "attention's plan")),
        partial_outputs_(device_array<std::uint8_t>(static_cast<std::size_t>(partial_output_bytes()), "attention's partial results")),
        partial_lse_(device_array<float>(static_cast<std::size_t>(partial_rows_ * shape.num_heads), "attention's partial results")) {
    for (Slot& slot : slots_) slot.plan = pinned_array<std::int32_t>(static_cast<std::size_t>(capacity_), "attention's plan");
  }

  const char* name() const override { return hopper_ != nullptr ? "flashinfer (fa2, hopper)" : "flashinfer (fa2)"; }

  bool can_capture(const AttentionStep& step) const override { return octavo::can_capture(plan_shape_, step_of(step)); }

  void plan(const AttentionStep& step, Stream stream) override {
    Slot& slot = slots_[next_slot_];
    next_slot_ = (next_slot_ + 1) % kNumSlots;
    slot.copied.wait();
    plan_ = planner_.plan(step_of(step), {slot.plan.get(), capacity_});
    arrays_ = step.device;
    check(cudaMemcpyAsync(device_plan_.get(), slot.plan.get(), static_cast<std::size_t>(plan_.num_elements) * sizeof(std::int32_t),
                          cudaMemcpyHostToDevice, stream),
          "attention's plan");
    slot.copied.record(stream);
  }

  void run(const DeviceMatrix& q, const AttentionLayer& of, const DeviceMatrix& y, Stream stream) override {
    const void* layer_pages = of.pages;
    require(y.stride == y.cols && q.in_vectors(), "attention: rows of y must lie side by side, rows of q begin at 16-byte boundaries");
    const Layer layer = layer_of(q, layer_pages, y);
    try {
      if (plan_.fa2.num_items > 0 && own_tiles_ && plan_.fa2.query_tile == 16) {
        tile_attention(shape_, layer, fa2_plan(), stream);
      } else if (plan_.fa2.num_items > 0) {
        check(fa2_.launch(layer, fa2_plan(), stream), "FlashInfer's FA2 attention");
      }
      if (plan_.hopper.num_items > 0) check(hopper_->launch(layer, hopper_plan(), stream), "FlashInfer's Hopper attention");
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string("attention: ") + error.what());
    }
  }

  std::int64_t num_bytes() const override {
    return capacity_ * 4 + partial_output_bytes() + partial_rows_ * shape_.num_heads * static_cast<std::int64_t>(sizeof(float));
  }

 private:
  struct Slot {
    PinnedArray<std::int32_t> plan;
    Mark copied;
  };

  std::int64_t partial_output_bytes() const {
    return partial_rows_ * shape_.num_heads * shape_.head_dim * static_cast<std::int64_t>(size_of(shape_.activation));
  }

  static DevicePlanStep step_of(const AttentionStep& step) {
    return {{step.host.query_indptr, step.num_rows + 1},
            {step.host.context_lens, step.num_rows},
            step.max_blocks,
            step.num_tokens,
            step.captured};
  }

  Layer layer_of(const DeviceMatrix& q, const void* layer_pages, const DeviceMatrix& y) const {
    Layer layer;
    const std::int64_t page_elements = std::int64_t{kPageTokens} * shape_.num_kv_heads * shape_.head_dim;
    layer.q = q.data;
    layer.q_stride = q.stride;
    layer.num_tokens = q.rows;
    layer.k_pages = layer_pages;
    layer.v_pages = static_cast<const std::uint8_t*>(layer_pages) + page_elements * static_cast<std::int64_t>(size_of(shape_.kv));
    layer.page_stride = 2 * page_elements;
    layer.y = y.data;
    layer.y_stride = y.stride;
    layer.num_heads = shape_.num_heads;
    layer.num_kv_heads = shape_.num_kv_heads;
    layer.scale = shape_.scale;
    layer.softcap = shape_.softcap;
    layer.window = shape_.window;
    return layer;
  }

  Fa2Plan fa2_plan() const {
    const Fa2Layout& at = plan_.fa2;
    const std::int32_t* base = device_plan_.get();
    Fa2Plan plan;
    plan.query_indptr = arrays_.query_indptr;
    plan.context_lens = arrays_.context_lens;
    plan.block_tables = arrays_.block_tables;
    plan.page_indptr = base + at.page_indptr;
    plan.output_indptr = base + at.output_indptr;
    plan.item_rows = base + at.item_rows;
    plan.item_query_tiles = base + at.item_query_tiles;
    plan.item_kv_chunks = base + at.item_kv_chunks;
    if (at.item_is_valid >= 0) plan.item_is_valid = reinterpret_cast<const bool*>(base + at.item_is_valid);
    plan.merge_indptr = base + at.merge_indptr;
    plan.chunk_tokens = base + at.chunk_tokens;
    plan.num_merged_tokens = reinterpret_cast<const std::uint32_t*>(base + at.num_merged_tokens);
    plan.num_rows = at.num_rows;
    plan.num_items = at.num_items;
    plan.query_tile = at.query_tile;
    plan.first_merged_token = at.first_merged_token;
    plan.max_merged_tokens = at.max_merged_tokens;
    plan.split = at.split;
    plan.partial_outputs = partial_outputs_.get();
    plan.partial_lse = partial_lse_.get();
    return plan;
  }

  HopperPlan hopper_plan() const {
    const HopperLayout& at = plan_.hopper;
    const std::int32_t* base = device_plan_.get();
    return {arrays_.block_tables, base + at.work_indptr, base + at.query_tiles, base + at.query_starts, base + at.page_starts,
            base + at.query_lens, base + at.kv_lens,     base + at.heads,       base + at.rows};
  }

  AttentionShape shape_;
  DevicePlanShape plan_shape_;
  const Fa2Unit& fa2_;
  const HopperUnit* hopper_;
  bool own_tiles_;  // tiles of 16 rows are computed by our kernel, which keeps more pages on their way
  DevicePlanner planner_;
  std::int64_t capacity_, partial_rows_;
  DeviceArray<std::int32_t> device_plan_;
  DeviceArray<std::uint8_t> partial_outputs_;
  DeviceArray<float> partial_lse_;
  std::array<Slot, kNumSlots> slots_;
  int next_slot_ = 0;
  DevicePlan plan_;         // of the step that is run
  AttentionArrays arrays_;  // of the same
};

}  // namespace

std::unique_ptr<Attention> make_flashinfer_attention(const AttentionShape& shape, const AttentionLimits& limits, std::string& why_not) {
  if (!shape.is_plain()) {
    why_not = "FlashInfer's instances know no linear biases, sinks and chunks";
    return nullptr;
  }
  const Fa2Unit* fa2 = find_fa2(shape);
  if (fa2 == nullptr) {
    why_not = concat("FlashInfer has no compiled instance for head_dim ", shape.head_dim, ", ", name_of(shape.activation), " queries, ",
                     name_of(shape.kv), " keys", shape.softcap > 0.0f ? ", with a soft cap" : "");
    return nullptr;
  }
  const Gpu gpu = Gpu::current();
  if (gpu.major != 9 || gpu.minor != 0) {
    why_not = concat("FlashInfer's instances are compiled for compute capability 9.0, not ", gpu.major, ".", gpu.minor);
    return nullptr;
  }
  if (limits.deterministic && shape.window > 0) {
    why_not = "chunks of a window begin where the first query of a tile says, which is not deterministic";
    return nullptr;
  }
  const HopperUnit* hopper = limits.deterministic ? nullptr : find_hopper(shape);
  DevicePlanShape plan_shape{shape.num_heads,    shape.num_kv_heads,  shape.head_dim,        shape.window,
                             gpu.num_processors, limits.max_num_seqs, limits.max_num_tokens, hopper != nullptr ? kMinHopperQueries : 0};
  if (limits.deterministic) {
    plan_shape.fixed_chunk = std::max(kShortestFixedChunk, round_up_to_pages((limits.max_model_len - 1) / kMostFixedChunks + 1));
    plan_shape.max_chunks = (limits.max_model_len - 1) / plan_shape.fixed_chunk + 1;
  }
  return std::make_unique<FlashInferAttention>(shape, plan_shape, *fa2, hopper);
}

}  // namespace octavo::cuda

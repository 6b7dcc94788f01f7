// The contract of attention on the device: one backend per kind of layer, planned once per step on the host, run once per layer.
//
// Keys and values of a layer lie in pages [block][2 (K, V)][kPageTokens][kv_heads][head_dim], latents in pages
// [block][kPageTokens][head_dim]; a slot is block * kPageTokens + offset.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "base/dtype.h"
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

constexpr int kPageTokens = 16;

// What layers have in common that share a plan.
struct AttentionShape {
  DType activation = DType::bf16;  // of q and y
  DType kv = DType::bf16;          // of the pages
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  float scale = 1.0f;
  int window = 0;        // tokens that a query sees, its own included; 0: all
  float softcap = 0.0f;  // 0: none
  int chunk = 0;         // a query sees no key before the last multiple of it; 0: all
  bool alibi = false;    // layers have slopes
  bool sinks = false;    // layers have sinks
  int latent_dim = 0;    // of a cache of latents: a token's one row of head_dim elements is its key, the first latent_dim its value

  bool is_plain() const { return chunk == 0 && !alibi && !sinks && latent_dim == 0; }
  int value_dim() const { return latent_dim > 0 ? latent_dim : head_dim; }
  std::int64_t layer_elements(std::int64_t num_blocks) const {
    return num_blocks * 2 * kPageTokens * num_kv_heads * static_cast<std::int64_t>(head_dim);
  }
  friend bool operator==(const AttentionShape& a, const AttentionShape& b) {
    return a.activation == b.activation && a.kv == b.kv && a.num_heads == b.num_heads && a.num_kv_heads == b.num_kv_heads &&
           a.head_dim == b.head_dim && a.scale == b.scale && a.window == b.window && a.softcap == b.softcap && a.chunk == b.chunk &&
           a.alibi == b.alibi && a.sinks == b.sinks && a.latent_dim == b.latent_dim;
  }
};

// The arrays that attention reads of a step, in one memory: host (pinned) or device. R sequences, T tokens.
struct AttentionArrays {
  const std::int32_t* query_indptr = nullptr;  // [R + 1]
  const std::int32_t* context_lens = nullptr;  // [R], the step's tokens included
  const std::int32_t* block_tables = nullptr;  // [R, max_blocks]
  const std::int32_t* positions = nullptr;     // [T]
  const std::int32_t* token_rows = nullptr;    // [T] index of the token's sequence; -1: padding, whose y is not looked at
};

// One step. Sequences 0 .. num_rows - 1 are real. Where a graph is captured or replayed, num_tokens is padded to the graph's size and
// every launch must have a shape that depends on num_tokens and `captured` alone: grids, addresses and arguments are frozen.
struct AttentionStep {
  AttentionArrays host;
  AttentionArrays device;
  int num_rows = 0;
  int num_tokens = 0;       // padding included
  int max_blocks = 0;       // row stride of block_tables
  int max_query_len = 0;    // of a sequence in this step
  int max_context_len = 0;  // of a sequence in this step
  bool captured = false;
};

// What is a layer's own.
struct AttentionLayer {
  const void* pages;
  const float* alibi_slopes;  // [H], where its shape has alibi
  const float* sinks;         // [H], where its shape has sinks
  DeviceMatrix q_rope;        // [T, H * (head_dim - latent_dim)], the rest of the queries, where its shape has latents

  AttentionLayer(const void* pages, const float* alibi_slopes = nullptr, const float* sinks = nullptr)  // NOLINT: pages may be all
      : pages(pages), alibi_slopes(alibi_slopes), sinks(sinks) {}
};

class Attention {
 public:
  virtual ~Attention() = default;
  virtual const char* name() const = 0;
  // Whether steps of this form may be captured in a graph: plan() is called before the capture and before every replay, run() once.
  virtual bool can_capture(const AttentionStep& step) const = 0;
  // Host work of the step, and the copy of what it made to fixed addresses on the device. Rings of pinned buffers are the backend's: two
  // steps may be under way.
  virtual void plan(const AttentionStep& step, Stream stream) = 0;
  // y [T, H * D] of q [T, H * D] (of latents: D is latent_dim) over a layer's pages, which the planned step's own keys and values have
  // entered.
  virtual void run(const DeviceMatrix& q, const AttentionLayer& layer, const DeviceMatrix& y, Stream stream) = 0;
  virtual std::int64_t num_bytes() const { return 0; }  // of workspace on the device
};

struct AttentionLimits {
  int max_num_seqs = 0;
  int max_num_tokens = 0;
  int max_model_len = 0;
  bool deterministic = false;  // a query's result hangs on nothing but itself and the keys it sees
};

// Our own kernel: any head_dim that is a multiple of 8, up to 512; every architecture.
std::unique_ptr<Attention> make_paged_attention(const AttentionShape& shape, const AttentionLimits& limits);

// FlashInfer's kernels, or null with the reason where they do not serve this shape, were not compiled, or the GPU cannot run them.
std::unique_ptr<Attention> make_flashinfer_attention(const AttentionShape& shape, const AttentionLimits& limits, std::string& why_not);

}  // namespace octavo::cuda

// What a compiled FlashInfer instance takes, in plain structs: one translation unit per instance includes the templates, everything else
// includes this. Shapes and pages as in cuda/attention.h; strides count elements.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda::flashinfer_units {

// A layer's tensors in one step.
struct Layer {
  const void* q = nullptr;  // [T, H * D], rows at 16-byte boundaries
  std::int64_t q_stride = 0;
  std::int64_t num_tokens = 0;    // T
  const void* k_pages = nullptr;  // the first page's keys; the values of a page stand at v_pages with the same strides
  const void* v_pages = nullptr;
  std::int64_t page_stride = 0;  // from a page's keys to the next page's
  void* y = nullptr;             // [T, H * D], dense for the FA2 template
  std::int64_t y_stride = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  float scale = 1.0f;
  float softcap = 0.0f;
  int window = 0;  // 0: all
};

// Plans on the device, as ops/attention/device_plan.h writes them.
struct Fa2Plan {
  const std::int32_t* query_indptr = nullptr;
  const std::int32_t* context_lens = nullptr;
  const std::int32_t* block_tables = nullptr;
  const std::int32_t* page_indptr = nullptr;  // [num_rows + 1]
  const std::int32_t* output_indptr = nullptr;
  const std::int32_t* item_rows = nullptr;
  const std::int32_t* item_query_tiles = nullptr;
  const std::int32_t* item_kv_chunks = nullptr;
  const bool* item_is_valid = nullptr;
  const std::int32_t* merge_indptr = nullptr;
  const std::int32_t* chunk_tokens = nullptr;
  const std::uint32_t* num_merged_tokens = nullptr;
  int num_rows = 0;   // entries of page_indptr, less one
  int num_items = 0;  // grid
  int query_tile = 0;
  int first_merged_token = 0;
  int max_merged_tokens = 0;
  bool split = false;
  void* partial_outputs = nullptr;  // of y's type
  float* partial_lse = nullptr;
};

struct HopperPlan {
  const std::int32_t* block_tables = nullptr;
  const std::int32_t* work_indptr = nullptr;
  const std::int32_t* query_tiles = nullptr;
  const std::int32_t* query_starts = nullptr;
  const std::int32_t* page_starts = nullptr;
  const std::int32_t* query_lens = nullptr;
  const std::int32_t* kv_lens = nullptr;
  const std::int32_t* heads = nullptr;
  const std::int32_t* rows = nullptr;
};

using Fa2Launch = cudaError_t (*)(const Layer&, const Fa2Plan&, Stream);
using HopperLaunch = cudaError_t (*)(const Layer&, const HopperPlan&, Stream);

// An instance that was compiled. The FA2 template takes any window; the Hopper kernel has instances with one and without.
struct Fa2Unit {
  DType activation;
  DType kv;
  int head_dim;
  bool softcap;
  Fa2Launch launch;
};

struct HopperUnit {
  DType activation;
  int head_dim;
  bool window;
  bool softcap;
  HopperLaunch launch;
};

}  // namespace octavo::cuda::flashinfer_units

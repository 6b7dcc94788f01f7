// One instance of FlashInfer's FA2 template: paged keys and values, causal, any window. Decode packs a group's heads into query rows.
//
// Lengths come from the step's context_lens and pages from its dense block tables, so nothing is built for FlashInfer but the plan.
#pragma once
#include <flashinfer/attention/default_prefill_params.cuh>
#include <flashinfer/attention/mask.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/variants.cuh>

#include "ops/attention/flashinfer/units.h"

namespace octavo::cuda::flashinfer_units {

template <typename Q, typename KV>
struct Fa2Params : flashinfer::BatchPrefillPagedParams<Q, KV, Q, std::int32_t> {
  const std::int32_t* context_lens = nullptr;

  __host__ __device__ __forceinline__ std::uint32_t get_kv_len(std::uint32_t row) const { return context_lens[row]; }
};

template <typename KV>
flashinfer::paged_kv_t<KV, std::int32_t> pages_of(const Layer& layer, const Fa2Plan& plan, int head_dim) {
  constexpr int kPageTokens = 16;
  const std::int64_t token_stride = std::int64_t{layer.num_kv_heads} * head_dim;
  const std::int64_t strides[] = {layer.page_stride, token_stride, head_dim};
  return {static_cast<std::uint32_t>(layer.num_kv_heads),
          kPageTokens,
          static_cast<std::uint32_t>(head_dim),
          static_cast<std::uint32_t>(plan.num_rows),
          flashinfer::QKVLayout::kNHD,
          static_cast<KV*>(const_cast<void*>(layer.k_pages)),
          static_cast<KV*>(const_cast<void*>(layer.v_pages)),
          strides,
          const_cast<std::int32_t*>(plan.block_tables),
          const_cast<std::int32_t*>(plan.page_indptr),
          nullptr};
}

template <typename Q, typename KV, int kHeadDim>
Fa2Params<Q, KV> fa2_params(const Layer& layer, const Fa2Plan& plan) {
  const auto ids = [](const std::int32_t* array) { return const_cast<std::int32_t*>(array); };
  Fa2Params<Q, KV> params;
  params.q = static_cast<Q*>(const_cast<void*>(layer.q));
  params.paged_kv = pages_of<KV>(layer, plan, kHeadDim);
  params.q_indptr = ids(plan.query_indptr);
  params.context_lens = plan.context_lens;
  params.o = static_cast<Q*>(layer.y) + plan.first_merged_token * layer.y_stride;
  params.group_size = flashinfer::uint_fastdiv(layer.num_heads / layer.num_kv_heads);
  params.num_qo_heads = layer.num_heads;
  params.q_stride_n = static_cast<std::int32_t>(layer.q_stride);
  params.q_stride_h = kHeadDim;
  params.window_left = layer.window > 0 ? layer.window - 1 : -1;
  params.logits_soft_cap = layer.softcap;
  params.sm_scale = layer.scale;
  params.request_indices = ids(plan.item_rows);
  params.qo_tile_indices = ids(plan.item_query_tiles);
  params.kv_tile_indices = ids(plan.item_kv_chunks);
  params.merge_indptr = ids(plan.merge_indptr);
  params.o_indptr = ids(plan.output_indptr);
  params.kv_chunk_size_ptr = ids(plan.chunk_tokens);
  params.block_valid_mask = const_cast<bool*>(plan.item_is_valid);
  params.total_num_rows = const_cast<std::uint32_t*>(plan.num_merged_tokens);
  params.max_total_num_rows = static_cast<std::uint32_t>(plan.max_merged_tokens);
  params.padded_batch_size = static_cast<std::uint32_t>(plan.num_items);
  return params;
}

template <typename Q, typename KV, int kHeadDim, bool kSoftcap, int kQueryTile>
cudaError_t launch_fa2_tile(const Layer& layer, const Fa2Plan& plan, Stream stream) {
  using Variant = flashinfer::DefaultAttention</*custom_mask=*/false, /*sliding_window=*/true, kSoftcap, /*alibi=*/false>;
  return flashinfer::BatchPrefillWithPagedKVCacheDispatched</*SAME_KV_STRIDES=*/true, kQueryTile, kHeadDim, kHeadDim,
                                                            flashinfer::PosEncodingMode::kNone, /*USE_FP16_QK_REDUCTION=*/false,
                                                            flashinfer::MaskMode::kCausal, Variant>(
      fa2_params<Q, KV, kHeadDim>(layer, plan), plan.split ? static_cast<Q*>(plan.partial_outputs) : nullptr, plan.partial_lse,
      /*enable_pdl=*/true, stream);
}

template <typename Q, typename KV, int kHeadDim, bool kSoftcap>
cudaError_t launch_fa2(const Layer& layer, const Fa2Plan& plan, Stream stream) {
  switch (plan.query_tile) {
    case 16:
      return launch_fa2_tile<Q, KV, kHeadDim, kSoftcap, 16>(layer, plan, stream);
    case 64:
      return launch_fa2_tile<Q, KV, kHeadDim, kSoftcap, 64>(layer, plan, stream);
    case 128:
      if constexpr (kHeadDim < 256) return launch_fa2_tile<Q, KV, kHeadDim, kSoftcap, 128>(layer, plan, stream);
      [[fallthrough]];
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace octavo::cuda::flashinfer_units

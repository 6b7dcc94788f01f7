// One instance of FlashInfer's Hopper kernel (FlashAttention-3 style: wgmma, a producer warpgroup): paged keys and values, causal.
//
// An item of the plan is one tile of queries of one head. With a window, the plan makes every tile a sequence of its own whose pages
// begin at the first one that the tile sees: the kernel then starts at key tile 0, which is where it looks for the last tile of values.
#pragma once
#include <flashinfer/attention/hopper/default_params.cuh>
#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>
#include <flashinfer/attention/mask.cuh>

#include "ops/attention/flashinfer/units.h"

namespace octavo::cuda::flashinfer_units {

template <typename Element>
using HopperParams = flashinfer::BatchPrefillPagedParams<Element, Element, Element, std::int32_t>;

template <typename Element>
void set_layer(HopperParams<Element>& params, const Layer& layer, int head_dim) {
  params.q_ptr = static_cast<Element*>(const_cast<void*>(layer.q));
  params.k_ptr = static_cast<Element*>(const_cast<void*>(layer.k_pages));
  params.v_ptr = static_cast<Element*>(const_cast<void*>(layer.v_pages));
  params.o_ptr = static_cast<Element*>(layer.y);
  params.lse_ptr = nullptr;
  params.q_stride_n = layer.q_stride;
  params.q_stride_h = head_dim;
  params.o_stride_n = layer.y_stride;
  params.o_stride_h = head_dim;
  params.k_stride_n = params.v_stride_n = std::int64_t{layer.num_kv_heads} * head_dim;
  params.k_stride_h = params.v_stride_h = head_dim;
  params.k_page_stride = params.v_page_stride = layer.page_stride;
  params.nnz_qo = layer.num_tokens;
  params.num_qo_heads = layer.num_heads;
  params.num_kv_heads = layer.num_kv_heads;
  params.group_size = layer.num_heads / layer.num_kv_heads;
  params.page_size = 16;
  params.window_left = layer.window > 0 ? layer.window - 1 : -1;
  params.causal = true;
  params.additional_params = {};
  params.additional_params.logits_soft_cap = layer.softcap;
  params.additional_params.sm_scale = layer.scale;
}

template <typename Element>
void set_plan(HopperParams<Element>& params, const HopperPlan& plan) {
  const auto ids = [](const std::int32_t* array) { return const_cast<std::int32_t*>(array); };
  params.kv_indices = ids(plan.block_tables);
  params.work_indptr = ids(plan.work_indptr);
  params.qo_tile_indices = ids(plan.query_tiles);
  params.qo_indptr = ids(plan.query_starts);
  params.kv_indptr = ids(plan.page_starts);
  params.qo_lens = ids(plan.query_lens);
  params.kv_lens = ids(plan.kv_lens);
  params.head_indices = ids(plan.heads);
  params.batch_indices = ids(plan.rows);
}

template <typename Element, int kHeadDim, bool kWindow, bool kSoftcap>
cudaError_t launch_hopper(const Layer& layer, const HopperPlan& plan, Stream stream) {
  HopperParams<Element> params;
  set_layer(params, layer, kHeadDim);
  set_plan(params, plan);
  return flashinfer::BatchPrefillWithPagedKVCacheDispatched<kHeadDim, kHeadDim, flashinfer::MaskMode::kCausal, kWindow,
                                                            /*SAME_SCHEDULE_FOR_ALL_HEADS=*/false, flashinfer::DefaultAttention<kSoftcap>>(
      params, /*enable_pdl=*/false, stream);
}

}  // namespace octavo::cuda::flashinfer_units

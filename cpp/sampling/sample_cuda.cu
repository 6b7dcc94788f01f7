#include <algorithm>

#include "cuda/check.h"
#include "cuda/element.h"
#include "sampling/block_team.cuh"
#include "sampling/device_select.h"
#include "sampling/philox.h"
#include "sampling/sample_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kGreedyThreads = 256;
using Team = BlockTeam<kThreads>;
using device::Rank;
using device::Scratch;

__device__ bool is_finite(Rank best) { return best != device::kNotANumber && isfinite(device::value_of(best)); }

// One thread: the row gets its token, or none.
__device__ void hand_over(const SampleArrays& arrays, const SampleState& state, int entry, std::int32_t token_id,
                          const device::Report& report) {
  const std::int32_t row = arrays.rows[entry];
  if (token_id >= 0) {
    device::append(state.parameters[row], state.progress[row], token_id);
    state.last_ids[row] = token_id;
  }
  arrays.drawn[entry] = {token_id, report.logprob, report.rank, report.num_top};
}

template <typename T>
__device__ Rank best_of_part(const T* x, int begin, int end, bool aligned) {
  constexpr int kVector = kVectorElements<T>;
  Rank best = 0;
  const auto see = [&](int i, float value) {
    const Rank rank = device::rank_of(value, i);
    best = rank > best ? rank : best;
  };
  if (aligned) {
    for (int i = begin + static_cast<int>(threadIdx.x) * kVector; i < end; i += kGreedyThreads * kVector) {
      const auto pack = Pack<T, kVector>::load(x + i);
#pragma unroll
      for (int k = 0; k < kVector; ++k) see(i + k, pack[k]);
    }
  } else {
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kGreedyThreads) see(i, to_float(x[i]));
  }
  return best;
}

// Grid (parts, n): a block searches its part of a row; the last of a row's blocks to finish hands the token over.
template <typename T>
__global__ void __launch_bounds__(kGreedyThreads) greedy_kernel(const T* logits, std::int64_t stride, int vocab, int part, bool aligned,
                                                                SampleArrays arrays, SampleState state, GreedyScratch* scratch) {
  const int entry = static_cast<int>(blockIdx.y);
  const T* x = logits + arrays.logits_rows[entry] * stride;
  const int begin = static_cast<int>(blockIdx.x) * part, end = min(begin + part, vocab);
  const BlockTeam<kGreedyThreads> team;
  __shared__ std::uint64_t of_warps[BlockTeam<kGreedyThreads>::kWarps];
  const Rank of_warp = team.warp_max(best_of_part(x, begin, end, aligned));
  if (team.lane() == 0) of_warps[team.warp()] = of_warp;
  __syncthreads();
  if (threadIdx.x != 0) return;
  Rank best = 0;
  for (Rank rank : of_warps) best = rank > best ? rank : best;
  GreedyScratch& shared = scratch[entry];
  atomicMax(&shared.best, static_cast<unsigned long long>(best));
  __threadfence();
  if (atomicAdd(&shared.num_arrived, 1u) != gridDim.x - 1) return;
  __threadfence();
  best = atomicExch(&shared.best, 0ull);
  shared.num_arrived = 0;
  hand_over(arrays, state, entry, is_finite(best) ? device::id_of(best) : -1, {});
}

// A row's token, the same in every thread; -1: none.
__device__ std::int32_t draw_for(Team& team, Scratch& scratch, const device::RowParameters& row, std::int64_t position, const float* x,
                                 int vocab) {
  const Rank best = device::find_best(team, scratch, x, vocab);
  if (!is_finite(best)) return -1;
  if (row.temperature == 0.0f) return device::id_of(best);
  const device::Weights weights =
      device::filter(team, scratch, x, vocab, device::value_of(best), row.temperature, {row.top_k, row.top_p, row.min_p, row.top_n_sigma});
  return device::draw(team, scratch, x, vocab, weights, uniform_draw(row.seed, row.choice, static_cast<std::uint64_t>(position)));
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(const float* logits, std::int64_t stride, int vocab, int n, SampleArrays arrays, SampleState state) {
  __shared__ Scratch scratch;
  Team team;
  for (int entry = static_cast<int>(blockIdx.x); entry < n; entry += static_cast<int>(gridDim.x)) {
    const float* raw = logits + arrays.logits_rows[entry] * stride;
    const device::RowParameters row = state.parameters[arrays.rows[entry]];
    const device::RowProgress progress = state.progress[arrays.rows[entry]];
    const std::int32_t mask_row = arrays.mask_rows ? arrays.mask_rows[entry] : -1;
    const bool adjusts = device::adjusts(row, progress) || mask_row >= 0, reports = row.num_logprobs >= 0;
    Rank best = 0;
    if (adjusts || reports) best = device::find_best(team, scratch, raw, vocab);
    std::int32_t token_id = -1;
    if (!adjusts) {
      token_id = draw_for(team, scratch, row, progress.num_tokens, raw, vocab);
    } else if (is_finite(best)) {
      float* adjusted = state.adjusted + blockIdx.x * state.adjusted_stride;
      device::adjust(team, row, progress, raw, adjusted, vocab);
      if (mask_row >= 0) device::apply_mask(team, arrays.masks + mask_row * static_cast<std::int64_t>((vocab + 31) / 32), adjusted, vocab);
      token_id = draw_for(team, scratch, row, progress.num_tokens, adjusted, vocab);
    }
    device::Report report{};
    if (token_id >= 0 && reports) {
      const std::int64_t lists = static_cast<std::int64_t>(entry) * device::kMaxTop;
      report = device::report(team, scratch, raw, vocab, device::value_of(best), token_id, row.num_logprobs, arrays.top_ids + lists,
                              arrays.top_logprobs + lists);
    }
    team.sync();  // everyone has read the row's progress
    if (team.thread() == 0) hand_over(arrays, state, entry, token_id, report);
  }
}

__global__ void __launch_bounds__(kThreads) score_kernel(const float* logits, std::int64_t stride, int vocab, int n, SampleArrays arrays,
                                                         const std::int32_t* token_ids, const std::int32_t* num_tops) {
  __shared__ Scratch scratch;
  Team team;
  for (int entry = static_cast<int>(blockIdx.x); entry < n; entry += static_cast<int>(gridDim.x)) {
    const float* raw = logits + arrays.logits_rows[entry] * stride;
    const Rank best = device::find_best(team, scratch, raw, vocab);
    const std::int64_t lists = static_cast<std::int64_t>(entry) * device::kMaxTop;
    device::Report report{};
    if (is_finite(best)) {
      report = device::report(team, scratch, raw, vocab, device::value_of(best), token_ids[entry], num_tops[entry], arrays.top_ids + lists,
                              arrays.top_logprobs + lists);
    }
    if (team.thread() == 0) arrays.drawn[entry] = {is_finite(best) ? token_ids[entry] : -1, report.logprob, report.rank, report.num_top};
  }
}

__global__ void count_kernel(const std::int32_t* token_ids, std::int64_t num_tokens, std::int64_t num_prompt_tokens,
                             std::uint32_t* counts) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= num_tokens) return;
  atomicOr(&counts[token_ids[i]], device::kSeen);
  if (i >= num_prompt_tokens) atomicAdd(&counts[token_ids[i]], 1u);
}

__global__ void set_row_kernel(std::int64_t row, device::RowParameters parameters, device::RowProgress progress, std::int32_t last_id,
                               SampleState state) {
  const_cast<device::RowParameters*>(state.parameters)[row] = parameters;
  state.progress[row] = progress;
  state.last_ids[row] = last_id;
}

__global__ void append_kernel(std::int64_t row, AppendedTokens tokens, SampleState state) {
  for (int i = 0; i < tokens.count; ++i) device::append(state.parameters[row], state.progress[row], tokens.ids[i]);
  state.last_ids[row] = tokens.ids[tokens.count - 1];
}

__global__ void copy_progress_kernel(std::int64_t from, std::int64_t to, device::RowParameters parameters, SampleState state) {
  const_cast<device::RowParameters*>(state.parameters)[to] = parameters;
  state.progress[to] = state.progress[from];
  state.last_ids[to] = state.last_ids[from];
}

int vocab_of(const DeviceMatrix& logits) { return static_cast<int>(logits.cols); }

}  // namespace

void greedy(const DeviceMatrix& logits, const SampleArrays& arrays, int n, const SampleState& state, GreedyScratch* scratch,
            int num_processors, Stream stream) {
  if (n == 0) return;
  constexpr int kSmallestPart = 4096, kUnit = 2048;  // elements; a part is a multiple of every vector
  const int vocab = vocab_of(logits);
  const int wanted = std::max(1, 4 * num_processors / n);  // blocks of 256 threads that fill the GPU, shared by the rows
  const int part = std::max(kSmallestPart, (vocab / wanted + kUnit - 1) / kUnit * kUnit);
  const dim3 grid(static_cast<unsigned>((vocab + part - 1) / part), static_cast<unsigned>(n));
  const auto launch = [&](auto* data) {
    greedy_kernel<<<grid, kGreedyThreads, 0, stream>>>(data, logits.stride, vocab, part, logits.in_vectors(), arrays, state, scratch);
  };
  if (logits.type == DType::bf16) {
    launch(static_cast<const bf16*>(logits.data));
  } else {
    require(logits.type == DType::f32, "sampler: logits of type ", name_of(logits.type), " are not supported");
    launch(static_cast<const float*>(logits.data));
  }
  check_launch("greedy sampling");
}

void sample(const DeviceMatrix& logits, const SampleArrays& arrays, int n, const SampleState& state, Stream stream) {
  if (n == 0) return;
  require(logits.type == DType::f32, "sampler: logits of type ", name_of(logits.type), " are not supported");
  sample_kernel<<<std::min(n, state.num_blocks), kThreads, 0, stream>>>(static_cast<const float*>(logits.data), logits.stride,
                                                                        vocab_of(logits), n, arrays, state);
  check_launch("sampling");
}

void score(const DeviceMatrix& logits, const SampleArrays& arrays, const std::int32_t* token_ids, const std::int32_t* num_tops, int n,
           int num_blocks, Stream stream) {
  if (n == 0) return;
  require(logits.type == DType::f32, "sampler: logits of type ", name_of(logits.type), " are not supported");
  score_kernel<<<std::min(n, num_blocks), kThreads, 0, stream>>>(static_cast<const float*>(logits.data), logits.stride, vocab_of(logits), n,
                                                                 arrays, token_ids, num_tops);
  check_launch("log-probabilities");
}

void count_tokens(const std::int32_t* token_ids, std::int64_t num_tokens, std::int64_t num_prompt_tokens, std::uint32_t* counts,
                  std::int64_t vocab_size, Stream stream) {
  check(cudaMemsetAsync(counts, 0, static_cast<std::size_t>(vocab_size) * sizeof *counts, stream), "token counts");
  if (num_tokens == 0) return;
  constexpr int kCountThreads = 256;
  count_kernel<<<static_cast<unsigned>((num_tokens + kCountThreads - 1) / kCountThreads), kCountThreads, 0, stream>>>(
      token_ids, num_tokens, num_prompt_tokens, counts);
  check_launch("token counts");
}

void set_row(std::int64_t row, const device::RowParameters& parameters, const device::RowProgress& progress, std::int32_t last_id,
             const SampleState& state, Stream stream) {
  set_row_kernel<<<1, 1, 0, stream>>>(row, parameters, progress, last_id, state);
  check_launch("a row's sampling parameters");
}

void append_tokens(std::int64_t row, const AppendedTokens& tokens, const SampleState& state, Stream stream) {
  append_kernel<<<1, 1, 0, stream>>>(row, tokens, state);
  check_launch("a row's tokens");
}

void copy_progress(std::int64_t from, std::int64_t to, const device::RowParameters& parameters, const SampleState& state, Stream stream) {
  copy_progress_kernel<<<1, 1, 0, stream>>>(from, to, parameters, state);
  check_launch("a row's sampling parameters");
}

}  // namespace octavo::cuda

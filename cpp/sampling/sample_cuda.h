// Kernels of the device sampler: launches over arrays that the device can read. Formulas in sampling/device_select.h.
#pragma once
#include <cstdint>

#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"
#include "sampling/device_row.h"

namespace octavo::cuda {

// What a draw hands over; an array of these lies in pinned memory, which the kernels write.
struct DrawnToken {
  std::int32_t token_id;  // -1: none, because a logit is NaN, the largest is not finite, or the masks leave no token
  float logprob;
  std::int32_t rank;
  std::int32_t num_top;
};

// Of n draws or reports. Pointers may be to pinned memory.
struct SampleArrays {
  const std::int32_t* rows = nullptr;         // [n]
  const std::int32_t* logits_rows = nullptr;  // [n]
  const std::int32_t* mask_rows = nullptr;    // [n] the row of masks that each draw keeps to, or -1; null: there are no masks
  const std::int32_t* masks = nullptr;        // [.., ceil(V / 32)] a set bit for each token that may be drawn
  DrawnToken* drawn = nullptr;                // [n]
  std::int32_t* top_ids = nullptr;            // [n, kMaxTop]
  float* top_logprobs = nullptr;              // [n, kMaxTop]
};

struct SampleState {
  const device::RowParameters* parameters = nullptr;  // [max_num_seqs]
  device::RowProgress* progress = nullptr;            // [max_num_seqs]
  std::int32_t* last_ids = nullptr;                   // [max_num_seqs]
  float* adjusted = nullptr;                          // [num_blocks, V], 16-byte rows
  std::int64_t adjusted_stride = 0;
  int num_blocks = 0;  // that sample() launches at most
};

// One place a draw of greedy(); cleared before the first launch, and by every launch after its use.
struct GreedyScratch {
  unsigned long long best = 0;
  unsigned int num_arrived = 0;
};

// The most probable token of each row, for rows that change no logit and ask for no report. logits [L, V], float32 or bfloat16.
void greedy(const DeviceMatrix& logits, const SampleArrays& arrays, int n, const SampleState& state, GreedyScratch* scratch,
            int num_processors, Stream stream);

// Draws for rows of every kind. logits [L, V] float32.
void sample(const DeviceMatrix& logits, const SampleArrays& arrays, int n, const SampleState& state, Stream stream);

// Reports of given tokens: entry i speaks of token_ids[i] in row logits_rows[i], with num_tops[i] alternatives.
void score(const DeviceMatrix& logits, const SampleArrays& arrays, const std::int32_t* token_ids, const std::int32_t* num_tops, int n,
           int num_blocks, Stream stream);

// counts [V] of a row's tokens, prompt first; clears it before.
void count_tokens(const std::int32_t* token_ids, std::int64_t num_tokens, std::int64_t num_prompt_tokens, std::uint32_t* counts,
                  std::int64_t vocab_size, Stream stream);

// Fills a row's entry; parameters travel as arguments of the launch, so the host need not keep them.
void set_row(std::int64_t row, const device::RowParameters& parameters, const device::RowProgress& progress, std::int32_t last_id,
             const SampleState& state, Stream stream);

// A row's tokens that no step drew, at most kMostAppended of them.
constexpr int kMostAppended = 32;
struct AppendedTokens {
  std::int32_t count;
  std::int32_t ids[kMostAppended];
};
void append_tokens(std::int64_t row, const AppendedTokens& tokens, const SampleState& state, Stream stream);

// to's progress and last id become from's.
void copy_progress(std::int64_t from, std::int64_t to, const device::RowParameters& parameters, const SampleState& state, Stream stream);

}  // namespace octavo::cuda

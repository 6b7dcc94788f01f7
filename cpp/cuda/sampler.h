// The contract of sampling on the device. Meanings are those of octavo's Sampler on the processor; draws are keyed by
// (seed, choice, position) through the same generator.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/tensor_view.h"
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo {
struct RowSampling;
struct SampledToken;
struct TokenReport;
}  // namespace octavo

namespace octavo::cuda {

class DeviceSampler {
 public:
  virtual ~DeviceSampler() = default;

  // token_ids: every token of the row, prompt first. Throws std::invalid_argument for a row in use or a parameter out of range.
  virtual void start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens, const RowSampling& sampling,
                         Stream stream) = 0;
  virtual void end_row(std::int64_t row) = 0;
  // `to`, a free row, goes on from what `from` has, with parameters of its own: the same but for seed and choice.
  virtual void fork_row(std::int64_t from, std::int64_t to, const RowSampling& sampling, Stream stream) = 0;

  // Tokens that the row has without having drawn them, before its next draw.
  virtual void append(std::int64_t row, Span<const std::int32_t> token_ids, Stream stream) = 0;

  // Pinned memory [count, ceil(V / 32)] for masks of that slot's next launch, a set bit for each token that may be drawn.
  virtual Matrix<std::int32_t> masks(std::int64_t count, int slot) = 0;

  // Queues a step's draws: entry i draws for rows[i] from row logits_rows[i] of logits (float32 [L, V], on the device). The ids go to
  // last_ids()[row] and, with the reports, to a pinned slot. `slot` counts 0, 1, .. modulo num_slots; the spans are host memory.
  // Row i of masks(..) is that of entry masked[i].
  virtual void launch(const DeviceMatrix& logits, Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows,
                      Span<const std::int32_t> masked, int slot, Stream stream) = 0;
  // The tokens of that slot, in the order of rows; call it once the stream has passed launch().
  virtual std::vector<SampledToken> collect(int slot) = 0;

  // The same for reports of given tokens: entry i speaks of token_ids[i] in row logits_rows[i], with num_tops[i] <= 64 alternatives.
  virtual void launch_scores(const DeviceMatrix& logits, Span<const std::int32_t> logits_rows, Span<const std::int32_t> token_ids,
                             Span<const std::int32_t> num_tops, int slot, Stream stream) = 0;
  // None where a logit is NaN or the largest is not finite.
  virtual std::vector<std::optional<TokenReport>> collect_scores(int slot) = 0;

  // int32 [max_num_seqs] on the device: each row's last drawn token.
  virtual const std::int32_t* last_ids() const = 0;
  virtual std::int64_t num_bytes() const = 0;
};

std::unique_ptr<DeviceSampler> make_device_sampler(std::int64_t max_num_seqs, std::int64_t max_num_logits, std::int64_t vocab_size,
                                                   int num_slots);

}  // namespace octavo::cuda

#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "sampling/draw.h"
#include "sampling/philox.h"

namespace octavo {

Sampler::Sampler(std::int64_t max_num_seqs, std::int64_t vocab_size, cpu::ThreadPool& pool)
    : vocab_size_(vocab_size), pool_(pool), workspace_(pool.num_threads(), vocab_size) {
  require(max_num_seqs >= 1 && vocab_size >= 1, "sampler: max_num_seqs and vocab_size must be at least 1, got ", max_num_seqs, " and ",
          vocab_size);
  rows_.resize(static_cast<std::size_t>(max_num_seqs));
  scheduled_.assign(rows_.size(), 0);
}

void Sampler::start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens, RowSampling sampling) {
  require(row >= 0 && row < static_cast<std::int64_t>(rows_.size()), "sampler: row ", row, " of ", rows_.size());
  require(!rows_[row], "sampler: row ", row, " is in use; end it first");
  rows_[row].emplace(std::move(sampling), token_ids, num_prompt_tokens, vocab_size_);
}

void Sampler::end_row(std::int64_t row) {
  started(row);
  rows_[row].reset();
}

RowState& Sampler::started(std::int64_t row) {
  require(row >= 0 && row < static_cast<std::int64_t>(rows_.size()) && rows_[row], "sampler: row ", row, " is not started");
  return *rows_[row];
}

void Sampler::append(std::int64_t row, Span<const std::int32_t> token_ids) {
  RowState& state = started(row);
  for (std::int64_t i = 0; i < token_ids.size; ++i) {
    require(token_ids[i] >= 0 && token_ids[i] < vocab_size_, "sampler: token ", token_ids[i], " of ", vocab_size_);
  }
  for (std::int64_t i = 0; i < token_ids.size; ++i) state.append(token_ids[i]);
}

namespace {

// Below so many tokens that a mask allows, these alone are looked at.
constexpr std::int64_t kFewAllowed = 2048;

std::int64_t count_allowed(const std::int32_t* mask, std::int64_t vocab) {
  std::int64_t count = 0;
  for (std::int64_t begin = 0; begin < vocab; begin += 32) {
    auto word = static_cast<std::uint32_t>(mask[begin / 32]);
    if (vocab - begin < 32) word &= (1u << (vocab - begin)) - 1;
    count += __builtin_popcount(word);
  }
  return count;
}

// The ids that a mask allows, ascending, into ids; returns how many.
std::int64_t list_allowed(const std::int32_t* mask, std::int64_t vocab, std::int32_t* ids) {
  std::int64_t count = 0;
  for (std::int64_t begin = 0; begin < vocab; begin += 32) {
    for (auto word = static_cast<std::uint32_t>(mask[begin / 32]); word; word &= word - 1) {
      const std::int64_t v = begin + __builtin_ctz(word);
      if (v < vocab) ids[count++] = static_cast<std::int32_t>(v);
    }
  }
  return count;
}

// masked = logits where the mask's bit is set, else -inf. May be the same memory.
void apply_mask(const std::int32_t* mask, Span<const float> logits, float* masked) {
  for (std::int64_t begin = 0; begin < logits.size; begin += 32) {
    const auto word = static_cast<std::uint32_t>(mask[begin / 32]);
    const std::int64_t end = std::min<std::int64_t>(begin + 32, logits.size);
    if (word == 0) {
      std::fill(masked + begin, masked + end, -INFINITY);
    } else if (word == ~0u) {
      if (masked != logits.data) std::copy(logits.data + begin, logits.data + end, masked + begin);
    } else {
      for (std::int64_t v = begin; v < end; ++v) masked[v] = word >> (v - begin) & 1 ? logits[v] : -INFINITY;
    }
  }
}

}  // namespace

SampledToken Sampler::sample_row(Span<const float> logits, const RowState& state, const std::int32_t* mask) {
  const SampleKernels& kernels = sample_kernels(cpu::active_isa());
  const RowSampling& sampling = state.sampling();
  const SampleWorkspace::Lease lease(workspace_);
  SampleBuffers& buffers = *lease;
  Span<const float> adjusted = logits;
  bool few = false;
  if (mask || !state.keeps_logits()) {
    if (!std::isfinite(kernels.max(logits.data, logits.size))) return {};
    float* const own = buffers.logits.get();
    if (!state.keeps_logits()) {
      state.adjust(logits, {own, vocab_size_});
      adjusted = {own, vocab_size_};
    }
    few = mask && count_allowed(mask, vocab_size_) <= kFewAllowed;
    if (few) {
      const std::int64_t count = list_allowed(mask, vocab_size_, buffers.allowed.get());
      for (std::int64_t i = 0; i < count; ++i) own[i] = adjusted[buffers.allowed[i]];  // own[i] is read no later: allowed ids ascend
      adjusted = {own, count};
    } else if (mask) {
      apply_mask(mask, adjusted, own);
      adjusted = {own, vocab_size_};
    }
  }
  if (adjusted.size == 0) return {};
  SampledToken result;
  if (sampling.temperature == 0.0f) {
    result.token_id = most_probable(kernels, adjusted);
  } else {
    const double uniform = uniform_draw(sampling.seed, sampling.choice, static_cast<std::uint64_t>(state.num_tokens()));
    result.token_id = draw_token(kernels, adjusted, sampling, uniform, buffers);
  }
  if (few && result.token_id) result.token_id = buffers.allowed[*result.token_id];
  if (result.token_id && sampling.num_logprobs) {
    result.report = report_token(kernels, logits, *result.token_id, *sampling.num_logprobs, buffers);
  }
  return result;
}

void Sampler::check_rows(Span<const std::int32_t> rows) {
  for (std::int64_t i = 0; i < rows.size; ++i) started(rows[i]);
  bool repeated = false;
  for (std::int64_t i = 0; i < rows.size; ++i) repeated |= std::exchange(scheduled_[rows[i]], 1) != 0;
  for (std::int64_t i = 0; i < rows.size; ++i) scheduled_[rows[i]] = 0;
  require(!repeated, "sampler: a row is named twice");
}

std::vector<SampledToken> Sampler::sample(Matrix<const float> logits, Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows,
                                          Matrix<const std::int32_t> masks) {
  require(masks.rows == 0 || (masks.rows == rows.size && masks.cols == (vocab_size_ + 31) / 32), "sampler: masks [", masks.rows, ", ",
          masks.cols, "] for ", rows.size, " rows of ", vocab_size_);
  require(logits.cols == vocab_size_ && logits_rows.size == rows.size, "sampler: logits [", logits.rows, ", ", logits.cols, "] and ",
          logits_rows.size, " logits rows for ", rows.size, " rows of ", vocab_size_);
  for (std::int64_t i = 0; i < rows.size; ++i) {
    require(logits_rows[i] >= 0 && logits_rows[i] < logits.rows, "sampler: logits_rows[", i, "] is ", logits_rows[i], " of ", logits.rows,
            " rows of logits");
  }
  check_rows(rows);
  std::vector<SampledToken> sampled(static_cast<std::size_t>(rows.size));
  pool_.run(rows.size, [&](std::int64_t i) {
    try {
      sampled[i] = sample_row({logits.row(logits_rows[i]), logits.cols}, *rows_[rows[i]], masks.rows ? masks.row(i) : nullptr);
    } catch (const std::exception&) {  // no memory for its report: this row has no token, the others have theirs
    }
  });
  for (std::int64_t i = 0; i < rows.size; ++i) {
    if (sampled[i].token_id) rows_[rows[i]]->append(*sampled[i].token_id);
  }
  return sampled;
}

std::vector<std::optional<TokenReport>> Sampler::score(Matrix<const float> logits, Span<const std::int32_t> token_ids,
                                                       std::int64_t num_top) {
  require(logits.cols == vocab_size_ && logits.rows == token_ids.size, "sampler: logits [", logits.rows, ", ", logits.cols, "] for ",
          token_ids.size, " tokens of a vocabulary of ", vocab_size_);
  require(num_top >= 0, "sampler: num_top is ", num_top, "; it must be at least 0");
  for (std::int64_t i = 0; i < token_ids.size; ++i) {
    require(token_ids[i] >= 0 && token_ids[i] < vocab_size_, "sampler: token_ids[", i, "] is ", token_ids[i], ", not within 0..",
            vocab_size_ - 1);
  }
  std::vector<std::optional<TokenReport>> reports(static_cast<std::size_t>(token_ids.size));
  const SampleKernels& kernels = sample_kernels(cpu::active_isa());
  pool_.run(token_ids.size, [&](std::int64_t i) {
    const Span<const float> row{logits.row(i), logits.cols};
    if (!std::isfinite(kernels.max(row.data, row.size))) return;
    const SampleWorkspace::Lease lease(workspace_);
    try {
      reports[i] = report_token(kernels, row, token_ids[i], num_top, *lease);
    } catch (const std::exception&) {  // no memory: as if it were not finite
    }
  });
  return reports;
}

}  // namespace octavo

#include "ops/state/state.h"

#include <algorithm>
#include <cmath>

#include "cpu/split.h"
#include "ops/state/state_kernels.h"

namespace octavo {
namespace {

constexpr std::int64_t kChannels = 256;  // of a convolution's task

void check(const char* op, const StateStep& step, std::int64_t num_tokens, Matrix<float> states, std::int64_t state_cols) {
  const std::int64_t num_sequences = step.context_lens.size;
  require(step.rows.size == num_sequences && step.query_indptr.size == num_sequences + 1 && step.query_indptr[0] == 0 &&
              step.query_indptr[num_sequences] == num_tokens,
          op, ": query_indptr, context_lens and rows do not fit ", num_tokens, " tokens");
  require(states.cols == state_cols, op, ": states have ", states.cols, " elements, expected ", state_cols);
  for (std::int64_t i = 0; i < num_sequences; ++i) {
    require(step.query_indptr[i + 1] >= step.query_indptr[i] && step.context_lens[i] >= step.query_indptr[i + 1] - step.query_indptr[i], op,
            ": sequence ", i, " has fewer tokens than the step computes");
    require(step.rows[i] >= 0 && step.rows[i] < states.rows, op, ": row ", step.rows[i], " of ", states.rows);
  }
}

// A sequence's tokens in a step, and its state.
struct Part {
  std::int64_t first, count;
  bool fresh;
  float* state;

  Part(const StateStep& step, Matrix<float> states, std::int64_t sequence)
      : first(step.query_indptr[sequence]),
        count(step.query_indptr[sequence + 1] - first),
        fresh(step.context_lens[sequence] == count),
        state(states.row(step.rows[sequence])) {}
};

Matrix<const float> view(Matrix<const float> x, std::int64_t first, std::int64_t count, std::int64_t col, std::int64_t cols) {
  return {x.row(first) + col, count, cols, x.stride};
}
Matrix<float> view(Matrix<float> x, std::int64_t first, std::int64_t count, std::int64_t col, std::int64_t cols) {
  return {x.row(first) + col, count, cols, x.stride};
}

float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

// run(first token, count, fresh) for blocks of a part's tokens, whose settings fill(token, index within the block) computes.
template <typename Fill, typename Run>
void for_blocks(const Part& part, const Fill& fill, const Run& run) {
  for (std::int64_t done = 0; done < part.count; done += kScanTokens) {
    const std::int64_t count = std::min(kScanTokens, part.count - done);
    for (std::int64_t i = 0; i < count; ++i) fill(part.first + done + i, i);
    run(part.first + done, count, part.fresh && done == 0);
  }
}

}  // namespace

void causal_conv(Matrix<const float> x, Matrix<const float> w, const float* bias, const StateStep& step, Matrix<float> states,
                 Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("causal_conv", x, y);
  require(w.cols == x.cols && w.rows >= 2, "causal_conv: w is [", w.rows, ", ", w.cols, "], x has ", x.cols, " columns");
  check("causal_conv", step, x.rows, states, (w.rows - 1) * x.cols);
  const std::int64_t ranges = (x.cols + kChannels - 1) / kChannels;
  const auto conv = state_kernels(cpu::active_isa()).conv;
  pool.run(step.rows.size * ranges, [&](std::int64_t task) {
    const Part part(step, states, task / ranges);
    if (part.count == 0) return;
    const std::int64_t col = task % ranges * kChannels, cols = std::min(kChannels, x.cols - col);
    conv(view(x, part.first, part.count, col, cols), view(w, 0, w.rows, col, cols), bias ? bias + col : nullptr, part.fresh,
         {part.state + col, w.rows - 1, cols, x.cols}, view(y, part.first, part.count, col, cols));
  });
}

void ssm_scan(const SsmScan& scan, const StateStep& step, Matrix<float> states, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("ssm_scan", scan.x, y);
  require_same_shape("ssm_scan", scan.b, scan.c);
  const std::int64_t heads = scan.num_heads, groups = scan.num_groups;
  require(heads >= 1 && groups >= 1 && heads % groups == 0 && y.cols % heads == 0 && scan.b.cols % groups == 0 && scan.dt.cols == heads &&
              scan.b.rows == y.rows && scan.dt.rows == y.rows,
          "ssm_scan: x, b, c and dt of ", heads, " heads and ", groups, " groups do not fit");
  const std::int64_t size = y.cols / heads, rows = scan.b.cols / groups, stride = padded_state_cols(size);
  check("ssm_scan", step, y.rows, states, heads * rows * stride);
  const auto kernel = state_kernels(cpu::active_isa()).scan;
  pool.run(step.rows.size * heads, [&](std::int64_t task) {
    const Part part(step, states, task / heads);
    const std::int64_t head = task % heads, group = head / (heads / groups);
    float steps[kScanTokens], decays[kScanTokens];
    for_blocks(
        part,
        [&](std::int64_t token, std::int64_t i) {
          steps[i] = std::min(std::max(softplus(scan.dt.row(token)[head] + scan.dt_bias[head]), scan.dt_min), scan.dt_max);
          decays[i] = std::exp(steps[i] * scan.a[head]);
        },
        [&](std::int64_t first, std::int64_t count, bool fresh) {
          kernel(view(scan.x, first, count, head * size, size), view(scan.b, first, count, group * rows, rows),
                 view(scan.c, first, count, group * rows, rows), steps, decays, scan.d[head], fresh,
                 {part.state + head * rows * stride, rows, stride}, view(y, first, count, head * size, size));
        });
  });
}

void delta_rule(const DeltaRule& rule, const StateStep& step, Matrix<float> states, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("delta_rule", rule.v, y);
  require_same_shape("delta_rule", rule.q, rule.k);
  require_same_shape("delta_rule", rule.b, rule.dt);
  const std::int64_t heads = rule.num_heads, key_heads = rule.num_key_heads;
  require(heads >= 1 && key_heads >= 1 && heads % key_heads == 0 && y.cols % heads == 0 && rule.k.cols % key_heads == 0 &&
              rule.b.cols == heads && rule.k.rows == y.rows && rule.b.rows == y.rows,
          "delta_rule: q, k, v and b of ", heads, " heads and ", key_heads, " key heads do not fit");
  const std::int64_t size = y.cols / heads, rows = rule.k.cols / key_heads, stride = padded_state_cols(size);
  check("delta_rule", step, y.rows, states, heads * rows * stride);
  const auto kernel = state_kernels(cpu::active_isa()).delta;
  pool.run(step.rows.size * heads, [&](std::int64_t task) {
    const Part part(step, states, task / heads);
    const std::int64_t head = task % heads, key_head = head / (heads / key_heads);
    float betas[kScanTokens], decays[kScanTokens];
    for_blocks(
        part,
        [&](std::int64_t token, std::int64_t i) {
          betas[i] = 1.0f / (1.0f + std::exp(-rule.b.row(token)[head]));
          decays[i] = std::exp(rule.a[head] * softplus(rule.dt.row(token)[head] + rule.dt_bias[head]));
        },
        [&](std::int64_t first, std::int64_t count, bool fresh) {
          kernel(view(rule.q, first, count, key_head * rows, rows), view(rule.k, first, count, key_head * rows, rows),
                 view(rule.v, first, count, head * size, size), betas, decays, fresh, {part.state + head * rows * stride, rows, stride},
                 view(y, first, count, head * size, size));
        });
  });
}

void gated_rms_norm(Matrix<const float> x, Matrix<const float> gate, const GatedNorm& norm, Matrix<float> y, cpu::ThreadPool& pool) {
  require_same_shape("gated_rms_norm", x, gate);
  require_same_shape("gated_rms_norm", x, y);
  require(norm.group_size >= 1 && x.cols % norm.group_size == 0 && (norm.weight.size == x.cols || norm.weight.size == norm.group_size),
          "gated_rms_norm: groups of ", norm.group_size, " and a weight of ", norm.weight.size, " do not fit ", x.cols, " columns");
  const auto kernel = state_kernels(cpu::active_isa()).gated_norm;
  cpu::for_row_ranges(pool, x.rows, 4 * x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t col = 0; col < x.cols; col += norm.group_size) {
        const float* weight = norm.weight.data + (norm.weight.size == x.cols ? col : 0);
        kernel(x.row(row) + col, gate.row(row) + col, weight, norm.eps, norm.norm_first, y.row(row) + col, norm.group_size);
      }
    }
  });
}

}  // namespace octavo

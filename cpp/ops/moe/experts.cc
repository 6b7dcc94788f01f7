#include "ops/moe/experts.h"

#include <algorithm>
#include <cstring>

#include "cpu/split.h"
#include "ops/linear/linear.h"

namespace octavo {
namespace {

std::int64_t aligned(std::int64_t num_bytes) { return (num_bytes + 63) / 64 * 64; }

void check(Matrix<const float> x, const Experts& experts, const ExpertsScratch& scratch, Matrix<const float> y) {
  const ExpertsWeight& blocks = experts.blocks;
  require_same_shape("experts", x, y);
  require_same_shape("experts", experts.ids, experts.weights);
  require(x.cols == blocks.hidden_size(), "experts: x has ", x.cols, " columns, the experts ", blocks.hidden_size());
  require(experts.ids.rows == x.rows, "experts: ids have ", experts.ids.rows, " rows, x ", x.rows);
  require(scratch.rows.rows >= x.rows * experts.ids.cols && scratch.gate_up.rows >= x.rows, "experts: the scratch is too small for ",
          x.rows, " tokens");
  for (std::int64_t token = 0; token < x.rows; ++token) {
    for (std::int64_t rank = 0; rank < experts.ids.cols; ++rank) {
      const std::int32_t id = experts.ids.row(token)[rank];
      require(id >= 0 && id < blocks.num_experts(), "experts: id ", id, " of ", blocks.num_experts());
    }
  }
}

// A counting sort by expert. first_rows ends as [X + 1]: rows first_rows[e] .. first_rows[e + 1] - 1 are those of expert e, by token.
void assign_rows(const Experts& experts, const ExpertsScratch& scratch) {
  const Matrix<const std::int32_t>& ids = experts.ids;
  std::int32_t* next = scratch.first_rows + 1;  // shifted by one: once the rows are dealt out, next[e] is where expert e + 1 begins
  std::fill_n(scratch.first_rows, experts.blocks.num_experts() + 2, 0);
  for (std::int64_t token = 0; token < ids.rows; ++token) {
    for (std::int64_t rank = 0; rank < ids.cols; ++rank) ++next[ids.row(token)[rank] + 1];
  }
  for (std::int64_t expert = 0; expert < experts.blocks.num_experts(); ++expert) next[expert + 1] += next[expert];
  for (std::int64_t token = 0; token < ids.rows; ++token) {
    for (std::int64_t rank = 0; rank < ids.cols; ++rank) scratch.places[token * ids.cols + rank] = next[ids.row(token)[rank]]++;
  }
}

void gather(Matrix<const float> x, const Experts& experts, const ExpertsScratch& scratch, cpu::ThreadPool& pool) {
  const std::int64_t top_k = experts.ids.cols;
  cpu::for_row_ranges(pool, x.rows, top_k * x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      for (std::int64_t rank = 0; rank < top_k; ++rank) {
        const std::int32_t place = scratch.places[token * top_k + rank];
        if (!experts.weighs_input) {
          std::memcpy(scratch.rows.row(place), x.row(token), static_cast<std::size_t>(x.cols) * sizeof(float));
          continue;
        }
        const float weight = experts.weights.row(token)[rank];
        for (std::int64_t column = 0; column < x.cols; ++column) scratch.rows.row(place)[column] = weight * x.row(token)[column];
      }
    }
  });
}

// rows [n, E], replaced by the expert's outputs.
void run_expert(std::int64_t index, const Experts& experts, Matrix<float> rows, Matrix<float> gate_up, cpu::ThreadPool& pool) {
  const Expert& expert = experts.blocks[index];
  const auto bias = [index](const float* all, std::int64_t size) { return all ? all + index * size : nullptr; };
  const Matrix<float> product = gate_up.columns(0, experts.blocks.size());
  linear(rows, *expert.gate_up, bias(experts.gate_up_bias, gate_up.cols), gate_up, pool);
  experts.activate_and_mul(gate_up, product, pool);
  linear(product, *expert.down, bias(experts.down_bias, rows.cols), rows, pool);
}

void combine(const Experts& experts, const ExpertsScratch& scratch, Matrix<float> y, cpu::ThreadPool& pool) {
  const std::int64_t top_k = experts.ids.cols;
  cpu::for_row_ranges(pool, y.rows, top_k * y.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      float* sum = y.row(token);
      for (std::int64_t rank = 0; rank < top_k; ++rank) {
        const float weight = experts.weighs_input ? 1.0f : experts.weights.row(token)[rank];
        const float* output = scratch.rows.row(scratch.places[token * top_k + rank]);
        for (std::int64_t column = 0; column < y.cols; ++column) {
          sum[column] = rank == 0 ? weight * output[column] : sum[column] + weight * output[column];
        }
      }
    }
  });
}

Matrix<float> first_rows(Matrix<float> matrix, std::int64_t first, std::int64_t count) {
  return {matrix.row(first), count, matrix.cols, matrix.stride};
}

}  // namespace

std::int64_t ExpertsScratch::num_bytes(std::int64_t num_tokens, std::int64_t top_k, const ExpertsWeight& blocks) {
  return aligned(num_tokens * top_k * blocks.hidden_size() * 4) + aligned(num_tokens * 2 * blocks.size() * 4) +
         aligned(num_tokens * top_k * 4) + aligned((blocks.num_experts() + 2) * 4);
}

ExpertsScratch ExpertsScratch::in(std::uint8_t* memory, std::int64_t num_tokens, std::int64_t top_k, const ExpertsWeight& blocks) {
  const auto take = [&](std::int64_t num_bytes) {
    std::uint8_t* taken = memory;
    memory += aligned(num_bytes);
    return taken;
  };
  ExpertsScratch scratch{};
  const std::int64_t num_rows = num_tokens * top_k, hidden = blocks.hidden_size(), gate_up = 2 * blocks.size();
  scratch.rows = {reinterpret_cast<float*>(take(num_rows * hidden * 4)), num_rows, hidden};
  scratch.gate_up = {reinterpret_cast<float*>(take(num_tokens * gate_up * 4)), num_tokens, gate_up};
  scratch.places = reinterpret_cast<std::int32_t*>(take(num_rows * 4));
  scratch.first_rows = reinterpret_cast<std::int32_t*>(take((blocks.num_experts() + 2) * 4));
  return scratch;
}

void run_experts(Matrix<const float> x, const Experts& experts, const ExpertsScratch& scratch, Matrix<float> y, cpu::ThreadPool& pool) {
  check(x, experts, scratch, y);
  assign_rows(experts, scratch);
  gather(x, experts, scratch, pool);
  for (std::int64_t index = 0; index < experts.blocks.num_experts(); ++index) {
    const std::int64_t first = scratch.first_rows[index], count = scratch.first_rows[index + 1] - first;
    if (count == 0) continue;
    run_expert(index, experts, first_rows(scratch.rows, first, count), first_rows(scratch.gate_up, 0, count), pool);
  }
  combine(experts, scratch, y, pool);
}

}  // namespace octavo

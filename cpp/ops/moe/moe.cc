#include "ops/moe/moe.h"

#include <cstring>

#include "cpu/split.h"
#include "ops/linear/linear.h"

namespace octavo {
namespace {

void check(Matrix<const float> x, Matrix<const float> router_logits, const MixtureOfExperts& layer, const MoeScratch& scratch,
           Matrix<const float> y) {
  require_same_shape("moe", x, y);
  const auto num_experts = static_cast<std::int64_t>(layer.experts.size());
  require(x.cols == layer.hidden_size(), "moe: x has ", x.cols, " columns, the experts ", layer.hidden_size());
  require(router_logits.rows == x.rows && router_logits.cols == num_experts, "moe: router_logits is [", router_logits.rows, ", ",
          router_logits.cols, "], expected [", x.rows, ", ", num_experts, "]");
  require(scratch.rows.rows >= x.rows * layer.top_k && scratch.rows.cols == x.cols && scratch.gate_up.rows >= x.rows &&
              scratch.gate_up.cols == layer.gate_up_size(),
          "moe: the scratch is too small for ", x.rows, " tokens");
}

void gather(Matrix<const float> x, const Routing& routing, Matrix<float> rows, cpu::ThreadPool& pool) {
  cpu::for_row_ranges(pool, x.rows, routing.top_k() * x.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      for (int rank = 0; rank < routing.top_k(); ++rank) {
        std::memcpy(rows.row(routing.rows_of(token)[rank]), x.row(token), static_cast<std::size_t>(x.cols) * sizeof(float));
      }
    }
  });
}

// rows [n, E], replaced by the expert's outputs.
void run_expert(const Expert& expert, const MixtureOfExperts& layer, Matrix<float> rows, Matrix<float> gate_up, cpu::ThreadPool& pool) {
  const Matrix<float> product = gate_up.columns(0, layer.gate_up_size() / 2);
  linear(rows, *expert.gate_up, nullptr, gate_up, pool);
  layer.activate_and_mul(gate_up, product, pool);
  linear(product, *expert.down, nullptr, rows, pool);
}

void combine(const Routing& routing, Matrix<const float> rows, Matrix<float> y, cpu::ThreadPool& pool) {
  cpu::for_row_ranges(pool, y.rows, routing.top_k() * y.cols, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t token = first; token < last; ++token) {
      float* sum = y.row(token);
      for (int rank = 0; rank < routing.top_k(); ++rank) {
        const float weight = routing.weights_of(token)[rank];
        const float* output = rows.row(routing.rows_of(token)[rank]);
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

void check_experts(const MixtureOfExperts& layer) {
  require(!layer.experts.empty(), "moe: there are no experts");
  const auto num_experts = static_cast<int>(layer.experts.size());
  require(layer.top_k >= 1 && layer.top_k <= num_experts, "moe: top_k is ", layer.top_k, "; it must be from 1 to the ", num_experts,
          " experts");
  for (const Expert& expert : layer.experts) {
    const LinearWeight &gate_up = *expert.gate_up, &down = *expert.down;
    require(gate_up.rows() == layer.gate_up_size() && gate_up.cols() == layer.hidden_size() && down.rows() == layer.hidden_size() &&
                gate_up.rows() == 2 * down.cols(),
            "moe: an expert is [", gate_up.rows(), ", ", gate_up.cols(), "] and [", down.rows(), ", ", down.cols(), "], expected [",
            layer.gate_up_size(), ", ", layer.hidden_size(), "] and [", layer.hidden_size(), ", ", layer.gate_up_size() / 2, "]");
  }
}

void moe(Matrix<const float> x, Matrix<const float> router_logits, const MixtureOfExperts& layer, const MoeScratch& scratch,
         Matrix<float> y, cpu::ThreadPool& pool) {
  check(x, router_logits, layer, scratch, y);
  Routing& routing = scratch.routing;
  routing.route(router_logits, layer.top_k, layer.renormalise, pool);
  gather(x, routing, scratch.rows, pool);
  for (int index = 0; index < static_cast<int>(layer.experts.size()); ++index) {
    const std::int64_t first = routing.first_row(index), count = routing.first_row(index + 1) - first;
    if (count == 0) continue;
    run_expert(layer.experts[static_cast<std::size_t>(index)], layer, first_rows(scratch.rows, first, count),
               first_rows(scratch.gate_up, 0, count), pool);
  }
  combine(routing, scratch.rows, y, pool);
}

}  // namespace octavo

// Mixtures of experts on the device against their formula in double precision: few tokens, tiles of every height, uneven choices.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "gpu/device_tensor.h"
#include "ops/activation/activation_cuda.h"
#include "ops/moe/few_tokens_cuda.h"
#include "ops/moe/grouped_cuda.h"
#include "ops/moe/moe_cuda.h"

namespace octavo::cuda {
namespace {

using Values = std::vector<double>;

constexpr std::int64_t kHidden = 168, kExpertSize = 104, kExperts = 6;  // no multiples of a tile
constexpr int kTopK = 3;

double activation(Gate gate, double g) {
  if (gate == Gate::silu) return g / (1 + std::exp(-g));
  if (gate == Gate::gelu_erf) return g / 2 * (1 + std::erf(g / std::sqrt(2.0)));
  return g / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * g * g * g)));
}

// Matrices [N, K] of all experts, one after the other, and their addresses on the device.
class Matrices {
 public:
  Matrices(std::int64_t rows, std::int64_t cols, DType type, unsigned seed)
      : values_(DeviceTensor::random(kExperts * rows, cols, type, seed, 0.2f)),
        rows_(rows),
        pointers_(device_array<const void*>(kExperts, "p")) {
    std::vector<const void*> addresses;
    for (std::int64_t e = 0; e < kExperts; ++e)
      addresses.push_back(static_cast<unsigned char*>(values_.view().data) + e * rows * cols * static_cast<std::int64_t>(size_of(type)));
    check(cudaMemcpy(pointers_.get(), addresses.data(), addresses.size() * sizeof(void*), cudaMemcpyHostToDevice), "pointers");
  }
  GroupedWeights view() const {
    const DeviceMatrix all = values_.view();
    return {pointers_.get(), kExperts, {all.data, rows_, all.cols, all.cols, all.type}};
  }
  Values product(std::int64_t expert, const Values& x) const {
    Values y(static_cast<std::size_t>(rows_));
    for (std::int64_t n = 0; n < rows_; ++n) {
      for (std::size_t k = 0; k < x.size(); ++k)
        y[static_cast<std::size_t>(n)] += x[k] * values_.at(expert * rows_ + n, static_cast<std::int64_t>(k));
    }
    return y;
  }

 private:
  DeviceTensor values_;
  std::int64_t rows_;
  DeviceArray<const void*> pointers_;
};

struct Choices {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

// `popular`: every token takes expert 4 first, so that its rows are most and others have few or none.
Choices choose(std::int64_t tokens, bool popular) {
  std::mt19937 generator(static_cast<unsigned>(tokens));
  Choices made;
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::array<std::int32_t, kExperts> order;
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), generator);
    if (popular) std::swap(order[0], *std::find(order.begin(), order.end(), 4));
    if (popular && t % 2) std::swap(order[1], *std::find(order.begin() + 1, order.end(), 1));
    for (int k = 0; k < kTopK; ++k) {
      made.ids.push_back(order[static_cast<std::size_t>(k)]);
      made.weights.push_back(0.1f + static_cast<float>(generator() % 1000) / 1000.0f);
    }
  }
  return made;
}

class CudaExperts : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
  }
  DType type() const { return GetParam(); }

  Values expected(Gate gate, const DeviceTensor& x, const Choices& chosen, const Matrices& gate_up, const Matrices& down) {
    Values y;
    for (std::int64_t t = 0; t < x.view().rows; ++t) {
      Values row(kHidden), sum(kHidden);
      for (std::int64_t i = 0; i < kHidden; ++i) row[static_cast<std::size_t>(i)] = x.at(t, i);
      for (int k = 0; k < kTopK; ++k) {
        const auto at = static_cast<std::size_t>(t * kTopK + k);
        const Values gates = gate_up.product(chosen.ids[at], row);
        Values hidden(kExpertSize);
        for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = activation(gate, gates[i]) * gates[i + kExpertSize];
        const Values made = down.product(chosen.ids[at], hidden);
        for (std::size_t i = 0; i < made.size(); ++i) sum[i] += chosen.weights[at] * made[i];
      }
      y.insert(y.end(), sum.begin(), sum.end());
    }
    return y;
  }

  // tile_rows 0: the kernels for few tokens.
  void check_experts(Gate gate, std::int64_t tokens, int tile_rows, bool popular) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens, tiles of " << tile_rows << (popular ? ", one popular expert" : ""));
    const auto x = DeviceTensor::random(tokens, kHidden, type(), 1);
    const Matrices gate_up(2 * kExpertSize, kHidden, type(), 2), down(kHidden, kExpertSize, type(), 3);
    const Choices chosen = choose(tokens, popular);
    const DeviceInts ids(chosen.ids);
    const DeviceMatrix id_rows{const_cast<std::int32_t*>(ids.data()), tokens, kTopK, kTopK, DType::i32};
    DeviceTensor weights(tokens, kTopK, DType::f32), hidden(tokens * kTopK, kExpertSize, type()), rows(tokens * kTopK, kHidden, type()),
        y(tokens, kHidden, type());
    weights.set(chosen.weights);
    if (tile_rows == 0) {
      few_token_experts(gate, x.view(), id_rows, weights.view(), gate_up.view(), down.view(), hidden.view(), y.view(), nullptr);
    } else {
      const auto memory =
          device_array<unsigned char>(static_cast<std::size_t>(SortedChoices::num_bytes(tokens * kTopK, kExperts)), "routing");
      const SortedChoices sorted = SortedChoices::in(memory.get(), tokens * kTopK, kExperts);
      sort_choices(id_rows, kExperts, tile_rows, sorted, nullptr);
      if (type() == DType::f32) {
        DeviceTensor gates(tokens * kTopK, 2 * kExpertSize, type());
        grouped_product(x.view(), gate_up.view(), {sorted.offsets, sorted.sources, tokens}, gates.view(), nullptr);
        gate_and_mul(gate, gates.view(), hidden.view(), nullptr);
        grouped_product(hidden.view(), down.view(), {sorted.offsets, nullptr, tokens}, rows.view(), nullptr);
      } else {
        gated_grouped_product(gate, x.view(), gate_up.view(), sorted, tile_rows, hidden.view(), nullptr);
        grouped_product(hidden.view(), false, down.view(), sorted, tile_rows, rows.view(), nullptr);
      }
      combine(rows.view(), weights.view(), sorted, y.view(), nullptr);
    }
    EXPECT_LE(relative_error(y.get(), expected(gate, x, chosen, gate_up, down)), tolerance(type()));
  }
};

TEST_P(CudaExperts, OfAFewTokens) {
  for (const std::int64_t tokens : {1, 2, 5}) check_experts(Gate::silu, tokens, 0, false);
  check_experts(Gate::gelu_erf, 2, 0, true);
}

TEST_P(CudaExperts, OfSortedRows) {
  for (const int rows : {16, 32, 64, 128}) {
    for (const std::int64_t tokens : {1, 11, 150}) check_experts(Gate::silu, tokens, rows, false);
    check_experts(Gate::gelu_tanh, 70, rows, true);
  }
  check_experts(Gate::gelu_erf, 700, 128, true);
}

TEST_P(CudaExperts, ReplaysWithOtherChoices) {
  if (type() == DType::f32) return;
  const std::int64_t tokens = 64;
  const auto x = DeviceTensor::random(tokens, kHidden, type(), 1);
  const Matrices gate_up(2 * kExpertSize, kHidden, type(), 2), down(kHidden, kExpertSize, type(), 3);
  const auto ids = device_array<std::int32_t>(tokens * kTopK, "ids");
  const DeviceMatrix id_rows{ids.get(), tokens, kTopK, kTopK, DType::i32};
  DeviceTensor weights(tokens, kTopK, DType::f32), hidden(tokens * kTopK, kExpertSize, type()), rows(tokens * kTopK, kHidden, type()),
      y(tokens, kHidden, type());
  const auto memory = device_array<unsigned char>(static_cast<std::size_t>(SortedChoices::num_bytes(tokens * kTopK, kExperts)), "routing");
  const SortedChoices sorted = SortedChoices::in(memory.get(), tokens * kTopK, kExperts);
  Stream stream = nullptr;
  check(cudaStreamCreate(&stream), "stream");
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t made = nullptr;
  for (const bool popular : {false, true}) {
    const Choices chosen = choose(tokens, popular);
    check(cudaMemcpy(ids.get(), chosen.ids.data(), chosen.ids.size() * 4, cudaMemcpyHostToDevice), "ids");
    weights.set(chosen.weights);
    if (!made) {
      check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
      const int each = tile_rows(tokens * kTopK, kExperts);
      sort_choices(id_rows, kExperts, each, sorted, stream);
      gated_grouped_product(Gate::silu, x.view(), gate_up.view(), sorted, each, hidden.view(), stream);
      grouped_product(hidden.view(), false, down.view(), sorted, each, rows.view(), stream);
      combine(rows.view(), weights.view(), sorted, y.view(), stream);
      check(cudaStreamEndCapture(stream, &graph), "capture");
      check(cudaGraphInstantiate(&made, graph, 0), "graph");
    }
    check(cudaGraphLaunch(made, stream), "graph");
    EXPECT_LE(relative_error(y.get(), expected(Gate::silu, x, chosen, gate_up, down)), tolerance(type()));
  }
  cudaGraphExecDestroy(made);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST_P(CudaExperts, RouterChoosesTheGreatest) {
  const std::int64_t tokens = 37;
  const auto logits = DeviceTensor::random(tokens, kExperts, type(), 2);
  const auto ids = device_array<std::int32_t>(tokens * kTopK, "ids");
  DeviceTensor shares(tokens, kTopK, DType::f32);
  route(logits.view(), true, {ids.get(), tokens, kTopK, kTopK, DType::i32}, shares.view(), nullptr);
  const std::vector<float> found = shares.get();
  std::vector<std::int32_t> chosen(tokens * kTopK);
  check(cudaMemcpy(chosen.data(), ids.get(), chosen.size() * 4, cudaMemcpyDeviceToHost), "ids");
  for (std::int64_t t = 0; t < tokens; ++t) {
    std::vector<int> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits.at(t, a) > logits.at(t, b); });
    double sum = 0.0;
    for (int k = 0; k < kTopK; ++k) sum += std::exp(double{logits.at(t, order[static_cast<std::size_t>(k)])});
    for (int k = 0; k < kTopK; ++k) {
      const auto at = static_cast<std::size_t>(t * kTopK + k);
      EXPECT_EQ(chosen[at], order[static_cast<std::size_t>(k)]);
      EXPECT_NEAR(found[at], std::exp(double{logits.at(t, order[static_cast<std::size_t>(k)])}) / sum, 1e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaExperts, testing::Values(DType::bf16, DType::f16, DType::f32),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace octavo::cuda

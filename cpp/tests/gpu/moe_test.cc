// Mixtures of experts on the device against their formula in double precision: few tokens, tiles of every height, uneven choices.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "cpu/thread_pool.h"
#include "gpu/device_tensor.h"
#include "ops/activation/activation_cuda.h"
#include "ops/moe/few_tokens_cuda.h"
#include "ops/moe/grouped_cuda.h"
#include "ops/moe/moe_cuda.h"
#include "ops/moe/route.h"

namespace octavo::cuda {
namespace {

using Values = std::vector<double>;

constexpr std::int64_t kHidden = 168, kExpertSize = 104, kExperts = 6;  // no multiples of a tile
constexpr int kTopK = 3;

// What a layer of experts may have beside its matrices.
struct Form {
  Gating gating = Gate::silu;
  bool biased = false;
  bool weighs_input = false;
};

double activation(Gate gate, double g) {
  if (gate == Gate::silu) return g / (1 + std::exp(-g));
  if (gate == Gate::gelu_erf) return g / 2 * (1 + std::erf(g / std::sqrt(2.0)));
  return g / 2 * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * g * g * g)));
}

double gated_by(const Gating& gating, double g, double u) {
  if (gating.gate != Gate::clamped_swiglu) return activation(gating.gate, g) * u;
  const double limit = gating.limit, bounded = std::min(g, limit);
  return (std::clamp(u, -limit, limit) + 1) * bounded / (1 + std::exp(-double{gating.alpha} * bounded));
}

// Matrices [N, K] of all experts, one after the other, and their addresses on the device.
class Matrices {
 public:
  Matrices(std::int64_t rows, std::int64_t cols, DType type, unsigned seed)
      : values_(DeviceTensor::random(kExperts * rows, cols, type, seed, 0.2f)),
        rows_(rows),
        bias_(DeviceTensor::random(kExperts, rows, DType::f32, seed + 10)),
        pointers_(device_array<const void*>(kExperts, "p")) {
    std::vector<const void*> addresses;
    for (std::int64_t e = 0; e < kExperts; ++e)
      addresses.push_back(static_cast<unsigned char*>(values_.view().data) + e * rows * cols * static_cast<std::int64_t>(size_of(type)));
    check(cudaMemcpy(pointers_.get(), addresses.data(), addresses.size() * sizeof(void*), cudaMemcpyHostToDevice), "pointers");
  }
  GroupedWeights view(bool biased) const {
    const DeviceMatrix all = values_.view();
    return {pointers_.get(), kExperts, {all.data, rows_, all.cols, all.cols, all.type}, biased ? bias_.floats() : nullptr};
  }
  Values product(std::int64_t expert, const Values& x, bool biased) const {
    Values y(static_cast<std::size_t>(rows_));
    for (std::int64_t n = 0; n < rows_; ++n) {
      if (biased) y[static_cast<std::size_t>(n)] = bias_.at(expert, n);
      for (std::size_t k = 0; k < x.size(); ++k)
        y[static_cast<std::size_t>(n)] += x[k] * values_.at(expert * rows_ + n, static_cast<std::int64_t>(k));
    }
    return y;
  }

 private:
  DeviceTensor values_;
  std::int64_t rows_;
  DeviceTensor bias_;
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

  Values expected(const Form& form, const DeviceTensor& x, const Choices& chosen, const Matrices& gate_up, const Matrices& down) {
    Values y;
    for (std::int64_t t = 0; t < x.view().rows; ++t) {
      Values sum(kHidden);
      for (int k = 0; k < kTopK; ++k) {
        const auto at = static_cast<std::size_t>(t * kTopK + k);
        const double weight = chosen.weights[at];
        Values row(kHidden), hidden(kExpertSize);
        for (std::int64_t i = 0; i < kHidden; ++i) row[static_cast<std::size_t>(i)] = x.at(t, i) * (form.weighs_input ? weight : 1.0);
        const Values gates = gate_up.product(chosen.ids[at], row, form.biased);
        for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = gated_by(form.gating, gates[i], gates[i + kExpertSize]);
        const Values made = down.product(chosen.ids[at], hidden, form.biased);
        for (std::size_t i = 0; i < made.size(); ++i) sum[i] += (form.weighs_input ? 1.0 : weight) * made[i];
      }
      y.insert(y.end(), sum.begin(), sum.end());
    }
    return y;
  }

  // tile_rows 0: the kernels for few tokens.
  void check_experts(const Form& form, std::int64_t tokens, int tile_rows, bool popular) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens, tiles of " << tile_rows << (popular ? ", one popular expert" : ""));
    const auto x = DeviceTensor::random(tokens, kHidden, type(), 1);
    const Matrices gate_up(2 * kExpertSize, kHidden, type(), 2), down(kHidden, kExpertSize, type(), 3);
    const GroupedWeights up = gate_up.view(form.biased), out = down.view(form.biased);
    const Choices chosen = choose(tokens, popular);
    const DeviceInts ids(chosen.ids);
    const DeviceMatrix id_rows{const_cast<std::int32_t*>(ids.data()), tokens, kTopK, kTopK, DType::i32};
    DeviceTensor weights(tokens, kTopK, DType::f32), hidden(tokens * kTopK, kExpertSize, type()), rows(tokens * kTopK, kHidden, type()),
        y(tokens, kHidden, type());
    weights.set(chosen.weights);
    if (tile_rows == 0) {
      few_token_experts(form.gating, form.weighs_input, x.view(), id_rows, weights.view(), up, out, hidden.view(), y.view(), nullptr);
    } else {
      const auto memory =
          device_array<unsigned char>(static_cast<std::size_t>(SortedChoices::num_bytes(tokens * kTopK, kExperts)), "routing");
      const SortedChoices sorted = SortedChoices::in(memory.get(), tokens * kTopK, kExperts);
      sort_choices(id_rows, weights.view(), kExperts, tile_rows, sorted, nullptr);
      if (type() == DType::f32) {
        DeviceTensor gates(tokens * kTopK, 2 * kExpertSize, type());
        const float* scales = form.weighs_input ? sorted.weights : nullptr;
        grouped_product(x.view(), up, {sorted.offsets, sorted.sources, scales, tokens}, gates.view(), nullptr);
        gate_and_mul(form.gating, gates.view(), hidden.view(), nullptr);
        grouped_product(hidden.view(), out, {sorted.offsets, nullptr, nullptr, tokens}, rows.view(), nullptr);
      } else {
        gated_grouped_product(form.gating, form.weighs_input, x.view(), up, sorted, tile_rows, hidden.view(), nullptr);
        grouped_product(hidden.view(), out, sorted, tile_rows, rows.view(), nullptr);
      }
      combine(rows.view(), weights.view(), form.weighs_input, sorted, y.view(), nullptr);
    }
    EXPECT_LE(relative_error(y.get(), expected(form, x, chosen, gate_up, down)), tolerance(type()));
  }
};

TEST_P(CudaExperts, OfAFewTokens) {
  for (const std::int64_t tokens : {1, 2, 5}) check_experts({}, tokens, 0, false);
  check_experts({Gate::gelu_erf}, 2, 0, true);
  check_experts({{Gate::clamped_swiglu, 1.702f, 3.0f}, true, false}, 3, 0, true);
  check_experts({Gate::silu, true, true}, 3, 0, true);
}

TEST_P(CudaExperts, OfSortedRows) {
  for (const int rows : {16, 32, 64, 128}) {
    for (const std::int64_t tokens : {1, 11, 150}) check_experts({}, tokens, rows, false);
    check_experts({Gate::gelu_tanh}, 70, rows, true);
    check_experts({{Gate::clamped_swiglu, 1.702f, 3.0f}, true, false}, 40, rows, true);
    check_experts({Gate::silu, true, true}, 40, rows, true);
  }
  check_experts({Gate::gelu_erf}, 700, 128, true);
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
      sort_choices(id_rows, weights.view(), kExperts, each, sorted, stream);
      gated_grouped_product(Gate::silu, false, x.view(), gate_up.view(false), sorted, each, hidden.view(), stream);
      grouped_product(hidden.view(), down.view(false), sorted, each, rows.view(), stream);
      combine(rows.view(), weights.view(), false, sorted, y.view(), stream);
      check(cudaStreamEndCapture(stream, &graph), "capture");
      check(cudaGraphInstantiate(&made, graph, 0), "graph");
    }
    check(cudaGraphLaunch(made, stream), "graph");
    EXPECT_LE(relative_error(y.get(), expected({}, x, chosen, gate_up, down)), tolerance(type()));
  }
  cudaGraphExecDestroy(made);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

// Each kind of routing against the processor's, which tests/kernels/test_moe.py holds against another reference.
TEST_P(CudaExperts, RoutersChooseAsTheProcessorDoes) {
  constexpr std::int64_t kTokens = 37, kMany = 24;
  constexpr int kTop = 5;
  const auto logits = DeviceTensor::random(kTokens, kMany, type(), 2), bias = DeviceTensor::random(1, kMany, DType::f32, 3);
  std::vector<Routing> routings(8);
  for (Routing& routing : routings) routing.renormalise = true;
  routings[1].renormalise = false;
  routings[2].scoring = Scoring::sigmoid, routings[2].scale = 2.5f;
  routings[3].scoring = Scoring::sigmoid, routings[3].num_groups = 4, routings[3].top_groups = 2, routings[3].group_best = 2;
  routings[4].num_groups = 6, routings[4].top_groups = 3, routings[4].renormalise = false, routings[4].scale = 4.0f;
  routings[5].num_groups = 3, routings[5].top_groups = 2, routings[5].group_best = 2;
  routings[6].scoring = Scoring::sigmoid, routings[6].least_sum = 4.0f;
  routings[7].scoring = Scoring::sparsemixer, routings[7].jitter = 0.2f, routings[7].renormalise = false;
  cpu::ThreadPool pool(1);
  for (std::size_t i = 0; i < routings.size(); ++i) {
    for (const bool biased : {false, true}) {
      SCOPED_TRACE(testing::Message() << "routing " << i << (biased ? " with a bias" : ""));
      Routing on_host = routings[i], on_device = routings[i];
      if (biased) on_host.bias = bias.values().data(), on_device.bias = bias.floats();
      std::vector<std::int32_t> wanted_ids(kTokens * kTop), found_ids(kTokens * kTop);
      std::vector<float> wanted(kTokens * kTop);
      octavo::route({logits.values().data(), kTokens, kMany}, on_host, {wanted_ids.data(), kTokens, kTop}, {wanted.data(), kTokens, kTop},
                    pool);
      const auto ids = device_array<std::int32_t>(kTokens * kTop, "ids");
      DeviceTensor shares(kTokens, kTop, DType::f32);
      route(logits.view(), on_device, {ids.get(), kTokens, kTop, kTop, DType::i32}, shares.view(), nullptr);
      const std::vector<float> found = shares.get();
      check(cudaMemcpy(found_ids.data(), ids.get(), found_ids.size() * 4, cudaMemcpyDeviceToHost), "ids");
      EXPECT_EQ(found_ids, wanted_ids);
      for (std::size_t at = 0; at < found.size(); ++at) EXPECT_NEAR(found[at], wanted[at], 1e-5 * std::max(1.0f, wanted[at]));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaExperts, testing::Values(DType::bf16, DType::f16, DType::f32),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace octavo::cuda

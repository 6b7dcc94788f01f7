// The device sampler's selection, run by threads of the host, against the processor's sampler.
#include "sampling/device_select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "cpu/isa.h"
#include "host_team.h"
#include "sampling/draw.h"
#include "sampling/logprobs.h"

namespace octavo {
namespace {

constexpr float kInf = INFINITY;

struct Case {
  const char* name;
  int vocab;
  float temperature;
  int top_k;
  float top_p, min_p;
  float top_n_sigma = 0.0f;
};

enum class Shape { normal, flat, ties, masked, peaked };

std::vector<float> logits_of(Shape shape, int vocab, std::mt19937& random) {
  std::vector<float> logits(static_cast<std::size_t>(vocab));
  std::normal_distribution<float> normal(0.0f, 3.0f);
  for (float& logit : logits) logit = normal(random);
  if (shape == Shape::flat) {
    for (float& logit : logits) logit *= 1e-4f;
  }
  if (shape == Shape::ties) {
    for (float& logit : logits) logit = std::round(logit);
  }
  if (shape == Shape::masked) {
    for (float& logit : logits) logit = random() % 7 == 0 ? logit : -kInf;
  }
  if (shape == Shape::peaked) logits[static_cast<std::size_t>(random() % vocab)] = 60.0f;
  return logits;
}

std::int32_t device_draw(const std::vector<float>& logits, const RowSampling& sampling, double uniform, int num_threads) {
  auto scratch = std::make_unique<device::Scratch>();
  const auto count = static_cast<int>(logits.size());
  std::vector<std::int32_t> drawn(static_cast<std::size_t>(num_threads));
  HostTeam::run(num_threads, [&](HostTeam& team) {
    const device::Rank best = device::find_best(team, *scratch, logits.data(), count);
    const device::Weights weights = device::filter(team, *scratch, logits.data(), count, device::value_of(best), sampling.temperature,
                                                   {sampling.top_k, sampling.top_p, sampling.min_p, sampling.top_n_sigma});
    drawn[static_cast<std::size_t>(team.thread())] = device::draw(team, *scratch, logits.data(), count, weights, uniform);
  });
  for (std::int32_t token : drawn) EXPECT_EQ(token, drawn[0]);
  return drawn[0];
}

// How far `uniform` is from the nearer end of a token's part of [0, 1), the tokens that pass being those of the processor's sampler.
double distance_to_boundary(const std::vector<float>& logits, const RowSampling& sampling, double uniform) {
  const SampleKernels& kernels = sample_kernels(cpu::active_isa());
  SampleBuffers buffers(static_cast<std::int64_t>(logits.size()));
  const Span<const float> row{logits.data(), static_cast<std::int64_t>(logits.size())};
  const auto at = [&](double u) { return *draw_token(kernels, row, sampling, std::clamp(u, 0.0, 1.0 - 1e-12), buffers); };
  double low = 0.0, high = 1e-3;
  if (at(uniform - high) == at(uniform + high)) return high;
  for (int i = 0; i < 40; ++i) {
    const double middle = (low + high) / 2;
    (at(uniform - middle) == at(uniform + middle) ? low : high) = middle;
  }
  return high;
}

TEST(DeviceSelect, DrawsWhatTheProcessorDraws) {
  std::mt19937 random(11);
  const SampleKernels& kernels = sample_kernels(cpu::active_isa());
  const std::vector<Case> cases{{"temperature", 5000, 1.0f, 0, 1.0f, 0.0f},
                                {"hot", 3001, 2.5f, 0, 1.0f, 0.0f},
                                {"cold", 3001, 0.05f, 0, 0.9f, 0.0f},
                                {"top_k", 5000, 1.0f, 50, 1.0f, 0.0f},
                                {"top_k 1", 5000, 1.0f, 1, 1.0f, 0.0f},
                                {"top_k of all", 700, 1.0f, 700, 1.0f, 0.0f},
                                {"top_p", 5000, 0.8f, 0, 0.9f, 0.0f},
                                {"low top_p", 5000, 0.8f, 0, 1e-6f, 0.0f},
                                {"high top_p", 5000, 1.0f, 0, 0.9999f, 0.0f},
                                {"both", 5000, 0.7f, 40, 0.8f, 0.0f},
                                {"min_p", 5000, 1.0f, 0, 1.0f, 0.05f},
                                {"all three", 5000, 1.3f, 300, 0.95f, 0.01f},
                                {"large top_k", 12001, 1.0f, 6000, 0.99f, 0.0f},
                                {"top_n_sigma", 5000, 1.5f, 0, 1.0f, 0.0f, 1.3f},
                                {"all four", 5000, 1.5f, 40, 0.9f, 0.01f, 2.0f}};
  int num_draws = 0, num_different = 0;
  for (const Case& c : cases) {
    for (Shape shape : {Shape::normal, Shape::flat, Shape::ties, Shape::masked, Shape::peaked}) {
      for (int round = 0; round < 6; ++round) {
        const std::vector<float> logits = logits_of(shape, c.vocab, random);
        RowSampling sampling;
        sampling.temperature = c.temperature;
        sampling.top_k = c.top_k;
        sampling.top_p = c.top_p;
        sampling.min_p = c.min_p;
        sampling.top_n_sigma = c.top_n_sigma;
        const double uniform = std::uniform_real_distribution<double>(0.0, 1.0)(random);
        SampleBuffers buffers(c.vocab);
        const auto expected = draw_token(kernels, {logits.data(), c.vocab}, sampling, uniform, buffers);
        const std::int32_t drawn = device_draw(logits, sampling, uniform, round % 3 == 0 ? 3 : 1);
        ++num_draws;
        if (drawn == *expected) continue;
        ++num_different;
        EXPECT_LT(distance_to_boundary(logits, sampling, uniform), 1e-5)
            << c.name << " of shape " << static_cast<int>(shape) << ": " << drawn << ", not " << *expected;
      }
    }
  }
  EXPECT_LE(num_different, num_draws / 50);
}

TEST(DeviceSelect, FindsTheFirstOfTheBest) {
  auto scratch = std::make_unique<device::Scratch>();
  const auto best_of = [&](const std::vector<float>& logits) {
    device::Rank best = 0;
    HostTeam::run(2, [&](HostTeam& team) {
      const device::Rank rank = device::find_best(team, *scratch, logits.data(), static_cast<int>(logits.size()));
      if (team.thread() == 0) best = rank;
    });
    return best;
  };
  EXPECT_EQ(device::id_of(best_of({1.0f, 3.0f, 2.0f, 3.0f, -4.0f})), 1);
  EXPECT_EQ(device::id_of(best_of({-0.0f, 0.0f})), 0);
  EXPECT_EQ(device::value_of(best_of({-3.5f, -2.25f})), -2.25f);
  EXPECT_EQ(device::value_of(best_of({-kInf, -kInf})), -kInf);
  EXPECT_EQ(device::value_of(best_of({1.0f, kInf})), kInf);
  EXPECT_EQ(best_of({1.0f, NAN, kInf}), device::kNotANumber);
}

TEST(DeviceSelect, ReportsWhatTheProcessorReports) {
  std::mt19937 random(5);
  const SampleKernels& kernels = sample_kernels(cpu::active_isa());
  auto scratch = std::make_unique<device::Scratch>();
  for (Shape shape : {Shape::normal, Shape::flat, Shape::ties, Shape::masked, Shape::peaked}) {
    for (int num_top : {0, 1, 5, device::kMaxTop}) {
      const int vocab = shape == Shape::flat ? 9000 : 2000;
      const std::vector<float> logits = logits_of(shape, vocab, random);
      auto token = static_cast<std::int32_t>(random() % vocab);
      while (logits[static_cast<std::size_t>(token)] == -kInf) token = (token + 1) % vocab;
      SampleBuffers buffers(vocab);
      const TokenReport expected = report_token(kernels, {logits.data(), vocab}, token, num_top, buffers);
      std::vector<std::int32_t> ids(device::kMaxTop, -1);
      std::vector<float> logprobs(device::kMaxTop);
      device::Report got{};
      HostTeam::run(3, [&](HostTeam& team) {
        const float max = device::value_of(device::find_best(team, *scratch, logits.data(), vocab));
        const device::Report report =
            device::report(team, *scratch, logits.data(), vocab, max, token, num_top, ids.data(), logprobs.data());
        if (team.thread() == 0) got = report;
      });
      EXPECT_NEAR(got.logprob, expected.logprob, 2e-6 * std::max(1.0f, std::abs(expected.logprob)));
      EXPECT_EQ(got.rank, expected.rank);
      ASSERT_EQ(got.num_top, static_cast<int>(expected.top_ids.size()));
      for (int i = 0; i < got.num_top; ++i) {
        EXPECT_EQ(ids[static_cast<std::size_t>(i)], expected.top_ids[static_cast<std::size_t>(i)]);
        EXPECT_NEAR(logprobs[static_cast<std::size_t>(i)], expected.top_logprobs[static_cast<std::size_t>(i)],
                    2e-6 * std::max(1.0f, std::abs(logprobs[static_cast<std::size_t>(i)])));
      }
    }
  }
}

}  // namespace
}  // namespace octavo

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "program/cpu_program.h"
#include "program/record.h"
#include "weights/embedding_weight.h"

namespace octavo::program {
namespace {

// Whichever thread of the pool led the step that failed, finish() throws what it threw, and the next step is computed as if nothing had
// been.
TEST(CpuProgram, AStepThatFailsThrowsWhereItIsFinishedAndSparesTheNext) {
  constexpr std::int64_t kVocab = 5, kHidden = 4;
  std::vector<float> table(kVocab * kHidden);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(table.data());
  const auto graph = std::make_shared<Graph>();
  const auto weight = std::make_shared<EmbeddingWeight>(bytes, Format::F32, kVocab, kHidden);
  const ValueId x = record(*graph, op_def("embedding"), {}, {weight}, Attributes({{"scale", 1.0}}))[0];
  record_output(*graph, "logits", record(*graph, op_def("select_logits_rows"), {x})[0]);
  cpu::ThreadPool pool(3);
  CpuProgram program(graph, pool, {}, {{"tokens", 2}, {"logits", 2}});

  const std::vector<std::int32_t> good{3, 1}, bad{3, 9}, positions{0, 1}, indptr{0, 2}, lens{2}, last{1};
  const auto step = [&](const std::vector<std::int32_t>& token_ids) {
    return StepArrays{{token_ids.data(), 2}, {positions.data(), 2}, {indptr.data(), 2}, {lens.data(), 1}, {last.data(), 1}, {}};
  };
  for (int round = 0; round < 100; ++round) {
    EXPECT_THROW(program.run(step(bad)), std::invalid_argument);
    program.run(step(good));
    const Matrix<const float> y = program.output("logits");
    ASSERT_EQ(y.rows, 1);
    EXPECT_EQ(std::vector<float>(y.row(0), y.row(0) + kHidden), (std::vector<float>{4, 5, 6, 7}));
  }
}

TEST(CpuProgram, WhatTheProcessorCannotComputeIsNamedWhenItIsLowered) {
  const auto graph = std::make_shared<Graph>();
  const ValueId x = record_input(*graph, "pixels", "patches", 4, ValueType::activation);
  record(*graph, op_def("softcap"), {x}, {}, Attributes({{"cap", 1.0}}));
  cpu::ThreadPool pool(1);
  EXPECT_THROW(CpuProgram(graph, pool, {}, {{"patches", 2}}), std::invalid_argument) << "a step has no patches";
  EXPECT_THROW(op_def("softmax"), std::invalid_argument);
  EXPECT_THROW(CpuProgram(std::make_shared<Graph>(), pool, {nullptr}, {}), std::invalid_argument) << "a cache too many";
}

}  // namespace
}  // namespace octavo::program

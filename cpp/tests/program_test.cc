#include "program/program.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "ops/attention/kv_cache.h"

namespace octavo::program {
namespace {

// Whichever thread of the pool led the step that failed, finish() throws what it threw, and the next step is computed as if nothing had
// been.
TEST(Program, AStepThatFailsThrowsWhereItIsFinishedAndSparesTheNext) {
  constexpr std::int64_t kVocab = 5, kHidden = 4;
  std::vector<float> table(kVocab * kHidden);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<float>(i);
  const EmbeddingWeight weight{reinterpret_cast<const std::uint8_t*>(table.data()), Format::F32, kVocab, kHidden};
  cpu::ThreadPool pool(3);
  KVCache cache(1, 1, 16, 1, 64);
  Program program(pool);
  program.seal(program.select_logits_rows(program.embedding(weight, 1.0f)), cache, 2, 2);

  const std::vector<std::int32_t> good{3, 1}, bad{3, 9}, positions{0, 1}, slots{0, 1}, indptr{0, 2}, lens{2}, blocks{0}, last{1};
  const auto step = [&](const std::vector<std::int32_t>& token_ids) {
    return StepArrays{{token_ids.data(), 2}, {positions.data(), 2}, {slots.data(), 2}, {indptr.data(), 2},
                      {lens.data(), 1},      {blocks.data(), 1, 1}, {last.data(), 1}};
  };
  for (int round = 0; round < 100; ++round) {
    EXPECT_THROW(program.run(step(bad)), std::invalid_argument);
    const Matrix<const float> y = program.run(step(good));
    ASSERT_EQ(y.rows, 1);
    EXPECT_EQ(std::vector<float>(y.row(0), y.row(0) + kHidden), (std::vector<float>{4, 5, 6, 7}));
  }
}

}  // namespace
}  // namespace octavo::program

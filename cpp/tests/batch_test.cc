// The persistent batch: arrays of a step, persistence of rows, all-or-nothing errors.
#include "batch/batch.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <utility>
#include <vector>

namespace octavo::batch {
namespace {

using Ints = std::vector<std::int32_t>;

// A step of one cache group: rows, tokens, logits, and the new blocks of each row.
Step step(Ints rows, Ints num_tokens, Ints num_logits, const std::vector<Ints>& new_blocks) {
  Step::NewBlocks blocks;
  for (const Ints& of_row : new_blocks) {
    blocks.ids.insert(blocks.ids.end(), of_row.begin(), of_row.end());
    blocks.indptr.push_back(static_cast<std::int32_t>(blocks.ids.size()));
  }
  return {std::move(rows), std::move(num_tokens), std::move(num_logits), {blocks}};
}

class BatchTest : public ::testing::Test {
 protected:
  static constexpr BatchLimits kLimits{/*max_num_seqs=*/4, /*max_num_tokens=*/8, /*max_num_logits=*/4, /*max_model_len=*/9,
                                       /*block_size=*/4};

  static Ints ints(const std::int32_t* data, std::int32_t count) { return {data, data + count}; }
  void start(std::int32_t row, const Ints& token_ids, std::int32_t num_computed = 0) {
    batch_.start_row({row, static_cast<std::int32_t>(token_ids.size()), num_computed}, token_ids);
  }

  Batch batch_{kLimits};
};

TEST_F(BatchTest, MixesAPromptChunkAndADecodeStep) {
  start(2, {10, 11, 12, 13, 14, 15});
  batch_.start_row({0, 4, 4}, {20, 21, 22, 23, 24});
  batch_.prepare(step({2, 0}, {6, 1}, {2, 1}, {{5, 3}, {7, 1}}));
  EXPECT_EQ(ints(batch_.token_ids(), batch_.num_tokens()), (Ints{10, 11, 12, 13, 14, 15, 24}));
  EXPECT_EQ(ints(batch_.positions(), batch_.num_tokens()), (Ints{0, 1, 2, 3, 4, 5, 4}));
  EXPECT_EQ(ints(batch_.slot_mapping(), batch_.num_tokens()), (Ints{20, 21, 22, 23, 12, 13, 4}));
  EXPECT_EQ(ints(batch_.query_indptr(), batch_.num_rows() + 1), (Ints{0, 6, 7}));
  EXPECT_EQ(ints(batch_.context_lens(), batch_.num_rows()), (Ints{6, 5}));
  EXPECT_EQ(ints(batch_.logits_indices(), batch_.num_logits()), (Ints{4, 5, 6}));
  EXPECT_EQ(ints(batch_.block_tables(), 2), (Ints{5, 3}));
  EXPECT_EQ(ints(batch_.block_tables() + batch_.max_blocks_per_row(), 2), (Ints{7, 1}));
  EXPECT_EQ(batch_.rows().at(0).num_prompt_tokens, 4);
  EXPECT_EQ(batch_.rows().at(2).num_computed, 6);
}

TEST_F(BatchTest, KeepsTheBlocksOfARowFromStepToStep) {
  start(1, {1, 2, 3, 4});
  start(3, {5, 6, 7});
  batch_.prepare(step({1, 3}, {4, 3}, {1, 1}, {{8}, {9}}));
  batch_.append_tokens({1, 3}, {50, 60});
  batch_.prepare(step({3, 1}, {1, 1}, {1, 1}, {{}, {2}}));  // the rows change places
  EXPECT_EQ(ints(batch_.token_ids(), 2), (Ints{60, 50}));
  EXPECT_EQ(ints(batch_.slot_mapping(), 2), (Ints{39, 8}));
  EXPECT_EQ(ints(batch_.block_tables(), 1), (Ints{9}));
  EXPECT_EQ(ints(batch_.block_tables() + batch_.max_blocks_per_row(), 2), (Ints{8, 2}));
}

TEST_F(BatchTest, TellsTheSequencesOfARowApart) {
  start(0, {1, 2});
  batch_.prepare(step({0}, {2}, {1}, {{8}}));
  batch_.end_row(0);
  start(0, {3, 4});
  batch_.prepare(step({0}, {2}, {1}, {{6}}));
  EXPECT_EQ(ints(batch_.slot_mapping(), 2), (Ints{24, 25}));
  EXPECT_EQ(ints(batch_.block_tables(), 1), (Ints{6}));
}

TEST_F(BatchTest, WritesATokenThatOnlyTheDeviceKnowsAsItsRow) {
  start(3, {1, 2});
  batch_.prepare(step({3}, {2}, {1}, {{8}}));
  EXPECT_THROW(batch_.prepare(step({3}, {1}, {1}, {{}})), std::invalid_argument);
  batch_.expect_tokens({3});
  batch_.prepare(step({3}, {1}, {1}, {{}}));
  EXPECT_EQ(ints(batch_.token_ids(), 1), (Ints{~3}));
  EXPECT_EQ(ints(batch_.positions(), 1), (Ints{2}));
  batch_.expect_tokens({3});
  batch_.append_tokens({3}, {70});
  batch_.prepare(step({3}, {1}, {1}, {{}}));
  EXPECT_EQ(ints(batch_.token_ids(), 1), (Ints{~3}));
  batch_.append_tokens({3}, {71});
  EXPECT_EQ(batch_.rows().at(3).num_tokens, 4);
}

TEST_F(BatchTest, ForksARowAtAnyToken) {
  start(0, {1, 2, 3, 4, 5, 6});
  batch_.prepare(step({0}, {6}, {1}, {{8, 9}}));
  batch_.fork_row(1, 0, 5, 60);
  batch_.prepare(step({1}, {1}, {1}, {{7}}));
  EXPECT_EQ(ints(batch_.token_ids(), 1), (Ints{60}));
  EXPECT_EQ(ints(batch_.slot_mapping(), 1), (Ints{29}));
  EXPECT_EQ(ints(batch_.block_tables(), 2), (Ints{8, 7}));
  batch_.fork_row(0, 0, 5, 61);  // goes back
  batch_.prepare(step({0}, {1}, {1}, {{}}));
  EXPECT_EQ(ints(batch_.token_ids(), 1), (Ints{61}));
  EXPECT_EQ(ints(batch_.slot_mapping(), 1), (Ints{37}));
  EXPECT_THROW(batch_.fork_row(2, 0, 7, 1), std::invalid_argument);
  EXPECT_THROW(batch_.fork_row(1, 0, 3, 1), std::invalid_argument);
}

TEST_F(BatchTest, PreparesIntoMemoryThatItIsGiven) {
  std::vector<std::int32_t> memory(StepArrays::num_ints(kLimits), -7);
  StepArrays arrays(kLimits, memory.data());
  start(0, {1, 2, 3});
  batch_.prepare(step({0}, {3}, {1}, {{8}}), arrays);
  EXPECT_EQ(ints(memory.data(), 4), (Ints{1, 2, 3, -7}));
  EXPECT_EQ(arrays.token_ids(), memory.data());
  EXPECT_EQ((arrays.block_tables() - memory.data()) % 32, 0);
  EXPECT_EQ(ints(arrays.block_tables(), 1), (Ints{8}));
  EXPECT_EQ(batch_.num_rows(), 0);
}

TEST(Batch, HasATableOfEachCacheGroup) {
  Batch batch(BatchLimits{2, 8, 4, 16, 4, /*num_groups=*/2});
  batch.start_row({1, 10, 9, {0, 2}}, Ints(10, 5));
  Step two = step({1}, {1}, {1}, {{3, 4, 5}});
  two.new_blocks.push_back({{6}, {0, 1}});
  batch.prepare(two);
  EXPECT_EQ(batch.slot_mapping(0)[0], 5 * 4 + 1);
  EXPECT_EQ(batch.slot_mapping(1)[0], 6 * 4 + 1);
  EXPECT_EQ(batch.block_tables(1)[2], 6);
  EXPECT_THROW(batch.start_row({0, 10, 3, {0, 2}}, Ints(10, 5)), std::invalid_argument);
  EXPECT_THROW(batch.prepare(step({1}, {1}, {1}, {{}})), std::invalid_argument);
}

TEST_F(BatchTest, HoldsTheTokenDrawnAtTheEndOfTheContext) {
  start(0, Ints(9, 1));
  batch_.append_tokens({0}, {2});
  EXPECT_EQ(batch_.rows().at(0).num_tokens, 10);
  EXPECT_THROW(batch_.append_tokens({0}, {3}), std::invalid_argument);
}

TEST_F(BatchTest, ChangesNothingWhereAStepCannotBeBuilt) {
  start(0, {1, 2});
  EXPECT_THROW(batch_.prepare(step({0}, {3}, {1}, {{8}})), std::invalid_argument);
  EXPECT_THROW(batch_.prepare(step({0}, {2}, {1}, {{}})), std::invalid_argument);
  EXPECT_THROW(batch_.prepare(step({0, 1}, {2, 1}, {1, 1}, {{8}, {9}})), std::invalid_argument);
  EXPECT_EQ(batch_.num_tokens(), 0);
  EXPECT_EQ(batch_.rows().num_blocks(0, 0), 0);
  EXPECT_EQ(batch_.rows().at(0).num_computed, 0);
}

TEST_F(BatchTest, TakesAnEmptyStep) {
  batch_.prepare(step({}, {}, {}, {}));
  EXPECT_EQ(batch_.num_rows(), 0);
  EXPECT_EQ(ints(batch_.query_indptr(), 1), (Ints{0}));
}

TEST(Batch, NeedsLimitsOfAtLeastOne) {
  EXPECT_THROW(Batch(BatchLimits{1, 1, 1, 1, 0}), std::invalid_argument);
  EXPECT_THROW(Batch(BatchLimits{0, 1, 1, 1, 1}), std::invalid_argument);
}

}  // namespace
}  // namespace octavo::batch

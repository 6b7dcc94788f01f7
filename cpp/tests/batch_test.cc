// The persistent batch: arrays of a step, persistence of rows, all-or-nothing errors.
#include "batch/batch.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace octavo::batch {
namespace {

using Ints = std::vector<std::int32_t>;

class BatchTest : public ::testing::Test {
 protected:
  static Ints ints(const std::int32_t* data, std::int32_t count) { return {data, data + count}; }

  Batch batch_{BatchLimits{/*max_num_seqs=*/4, /*max_num_tokens=*/8, /*max_num_logits=*/4, /*max_model_len=*/9, /*block_size=*/4}};
};

TEST_F(BatchTest, MixesAPromptChunkAndADecodeStep) {
  batch_.start_row(2, {10, 11, 12, 13, 14, 15}, 6);
  batch_.start_row(0, {20, 21, 22, 23, 24}, 4);
  batch_.prepare({{2, 0}, {0, 4}, {6, 1}, {2, 1}, {5, 3, 7, 1}, {0, 2, 4}});
  EXPECT_EQ(ints(batch_.token_ids(), batch_.num_tokens()), (Ints{10, 11, 12, 13, 14, 15, 24}));
  EXPECT_EQ(ints(batch_.positions(), batch_.num_tokens()), (Ints{0, 1, 2, 3, 4, 5, 4}));
  EXPECT_EQ(ints(batch_.slot_mapping(), batch_.num_tokens()), (Ints{20, 21, 22, 23, 12, 13, 4}));
  EXPECT_EQ(ints(batch_.query_indptr(), batch_.num_rows() + 1), (Ints{0, 6, 7}));
  EXPECT_EQ(ints(batch_.context_lens(), batch_.num_rows()), (Ints{6, 5}));
  EXPECT_EQ(ints(batch_.logits_indices(), batch_.num_logits()), (Ints{4, 5, 6}));
  EXPECT_EQ(ints(batch_.block_tables(), 2), (Ints{5, 3}));
  EXPECT_EQ(ints(batch_.block_tables() + batch_.max_blocks_per_row(), 2), (Ints{7, 1}));
  EXPECT_EQ(batch_.rows().at(0).num_prompt_tokens, 4);
}

TEST_F(BatchTest, KeepsTheBlocksOfARowFromStepToStep) {
  batch_.start_row(1, {1, 2, 3, 4}, 4);
  batch_.start_row(3, {5, 6, 7}, 3);
  batch_.prepare({{1, 3}, {0, 0}, {4, 3}, {1, 1}, {8, 9}, {0, 1, 2}});
  batch_.append_tokens({1, 3}, {50, 60});
  batch_.prepare({{3, 1}, {3, 4}, {1, 1}, {1, 1}, {2}, {0, 0, 1}});  // the rows change places
  EXPECT_EQ(ints(batch_.token_ids(), 2), (Ints{60, 50}));
  EXPECT_EQ(ints(batch_.slot_mapping(), 2), (Ints{39, 8}));
  EXPECT_EQ(ints(batch_.block_tables(), 1), (Ints{9}));
  EXPECT_EQ(ints(batch_.block_tables() + batch_.max_blocks_per_row(), 2), (Ints{8, 2}));
}

TEST_F(BatchTest, TellsTheSequencesOfARowApart) {
  batch_.start_row(0, {1, 2}, 2);
  batch_.prepare({{0}, {0}, {2}, {1}, {8}, {0, 1}});
  batch_.end_row(0);
  batch_.start_row(0, {3, 4}, 2);
  batch_.prepare({{0}, {0}, {2}, {1}, {6}, {0, 1}});
  EXPECT_EQ(ints(batch_.slot_mapping(), 2), (Ints{24, 25}));
  EXPECT_EQ(ints(batch_.block_tables(), 1), (Ints{6}));
}

TEST_F(BatchTest, HoldsTheTokenDrawnAtTheEndOfTheContext) {
  batch_.start_row(0, Ints(9, 1), 9);
  batch_.append_tokens({0}, {2});
  EXPECT_EQ(batch_.rows().at(0).num_tokens, 10);
  EXPECT_THROW(batch_.append_tokens({0}, {3}), std::invalid_argument);
}

TEST_F(BatchTest, ChangesNothingWhereAStepCannotBeBuilt) {
  batch_.start_row(0, {1, 2}, 2);
  EXPECT_THROW(batch_.prepare({{0}, {0}, {3}, {1}, {8}, {0, 1}}), std::invalid_argument);
  EXPECT_THROW(batch_.prepare({{0}, {0}, {2}, {1}, {}, {0, 0}}), std::invalid_argument);
  EXPECT_THROW(batch_.prepare({{0, 1}, {0, 0}, {2, 1}, {1, 1}, {8, 9}, {0, 1, 2}}), std::invalid_argument);
  EXPECT_EQ(batch_.num_tokens(), 0);
  EXPECT_EQ(batch_.rows().at(0).num_blocks, 0);
}

TEST_F(BatchTest, TakesAnEmptyStep) {
  batch_.prepare(Step{});
  EXPECT_EQ(batch_.num_rows(), 0);
  EXPECT_EQ(ints(batch_.query_indptr(), 1), (Ints{0}));
}

TEST(Batch, NeedsLimitsOfAtLeastOne) {
  EXPECT_THROW(Batch(BatchLimits{1, 1, 1, 1, 0}), std::invalid_argument);
  EXPECT_THROW(Batch(BatchLimits{0, 1, 1, 1, 1}), std::invalid_argument);
}

}  // namespace
}  // namespace octavo::batch

// Plans of paged attention on a GPU, read as the kernels read them: every key that a query may see is counted once and no other is.
#include "ops/attention/device_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace octavo {
namespace {

constexpr int kPage = 16;

struct Step {
  std::vector<std::int32_t> query_indptr{0}, context_lens;
  int max_blocks = 0, num_tokens = 0;
  bool captured = false;

  void add(int query_len, int context_len) {
    query_indptr.push_back(query_indptr.back() + query_len);
    context_lens.push_back(context_len);
    max_blocks = std::max(max_blocks, (context_len + kPage - 1) / kPage);
    num_tokens = query_indptr.back();
  }
  DevicePlanStep view() const {
    return {{query_indptr.data(), static_cast<std::int64_t>(query_indptr.size())},
            {context_lens.data(), static_cast<std::int64_t>(context_lens.size())},
            max_blocks,
            num_tokens,
            captured};
  }
};

DevicePlanShape shape_of(int num_heads, int num_kv_heads, int head_dim, int window) {
  return {num_heads, num_kv_heads, head_dim, window, 132, 64, 4096, 64};
}

struct Planned {
  DevicePlan plan;
  std::vector<std::int32_t> buffer;

  Planned(const DevicePlanShape& shape, const Step& step) : buffer(static_cast<std::size_t>(device_plan_capacity(shape)), -1) {
    DevicePlanner planner(shape);
    plan = planner.plan(step.view(), {buffer.data(), static_cast<std::int64_t>(buffer.size())});
    EXPECT_LE(plan.num_elements, static_cast<std::int64_t>(buffer.size()));
  }
  const std::int32_t* at(std::int64_t offset) const { return buffer.data() + offset; }
};

// (token, head, position of the key) -> how often it is read and let through the mask. Heads of a group share a packed row's reads.
class Coverage {
 public:
  Coverage(const DevicePlanShape& shape, const Step& step) : shape_(shape), step_(step) {}

  void read_fa2(const Planned& planned) {
    const Fa2Layout& fa2 = planned.plan.fa2;
    const int group = shape_.num_heads / shape_.num_kv_heads;
    for (int item = 0; item < fa2.num_items; ++item) {
      if (fa2.item_is_valid >= 0 && !reinterpret_cast<const bool*>(planned.at(fa2.item_is_valid))[item]) continue;
      const int row = planned.at(fa2.item_rows)[item], tile = planned.at(fa2.item_query_tiles)[item];
      const int part = planned.at(fa2.item_kv_chunks)[item], chunk = planned.at(fa2.chunk_tokens)[0];
      const int begin = step_.query_indptr[row], query_len = step_.query_indptr[row + 1] - begin, context = step_.context_lens[row];
      ASSERT_EQ(planned.at(fa2.page_indptr)[row], row * step_.max_blocks);
      const int window_left = shape_.window > 0 ? shape_.window - 1 : context;
      const int first_key = std::max(0, context + tile * fa2.query_tile / group - query_len - window_left);
      const int chunk_begin = fa2.split ? std::min(part * chunk + first_key, context) : first_key;
      const int chunk_end = fa2.split ? std::min((part + 1) * chunk + first_key, context) : context;
      for (int packed = tile * fa2.query_tile; packed < std::min((tile + 1) * fa2.query_tile, query_len * group); ++packed) {
        const int query = packed / group;
        const int output = planned.at(fa2.output_indptr)[row];
        const int num_chunks = (std::min(context, window_left + fa2.query_tile) + chunk - 1) / chunk;
        const int slot = fa2.split ? output + query * num_chunks + part : output + query;
        outputs_[{begin + query, packed % group}].push_back(slot);
        for (int key = chunk_begin; key < chunk_end; ++key) see(begin + query, packed % group, query, query_len, context, key);
      }
    }
  }

  void read_hopper(const Planned& planned) {
    const HopperLayout& hopper = planned.plan.hopper;
    if (hopper.num_items == 0) return;
    const int query_tile = shape_.head_dim == 64 ? 192 : 128;
    const std::int32_t* work_indptr = planned.at(hopper.work_indptr);
    ASSERT_EQ(work_indptr[shape_.num_processors], hopper.num_items);
    for (int item = 0; item < hopper.num_items; ++item) {
      const int row = planned.at(hopper.rows)[item], tile = planned.at(hopper.query_tiles)[item];
      const int start = planned.at(hopper.query_starts)[item], query_len = planned.at(hopper.query_lens)[item];
      const int kv_len = planned.at(hopper.kv_lens)[item];
      const int skipped = (planned.at(hopper.page_starts)[item] - row * step_.max_blocks) * kPage;
      ASSERT_GE(skipped, 0);
      if (shape_.window > 0) {
        ASSERT_LE(kv_len - query_len - (shape_.window - 1), kPage - 1) << "a window begins in key tile 0";
      }
      for (int query = tile * query_tile; query < std::min((tile + 1) * query_tile, query_len); ++query) {
        for (int key = 0; key < kv_len; ++key) {
          if (key <= query + kv_len - query_len) see_position(start + query, planned.at(hopper.heads)[item], row, key + skipped);
        }
      }
    }
  }

  // Every query of every row, every head; `heads` of a row of the FA2 template are those of a group.
  void expect_complete(int row, int num_heads) const {
    const int begin = step_.query_indptr[row], query_len = step_.query_indptr[row + 1] - begin;
    for (int query = 0; query < query_len; ++query) {
      const int position = step_.context_lens[row] - query_len + query;
      const int first = shape_.window > 0 ? std::max(0, position - shape_.window + 1) : 0;
      for (int head = 0; head < num_heads; ++head) {
        for (int key = 0; key < step_.context_lens[row]; ++key) {
          const auto found = reads_.find({begin + query, head, key});
          ASSERT_EQ(found == reads_.end() ? 0 : found->second, key >= first && key <= position ? 1 : 0)
              << "row " << row << " query " << query << " head " << head << " key " << key;
        }
      }
    }
  }

  // Results of the FA2 template land where the merge, or the next op, looks for them, each place once.
  void expect_outputs(const Planned& planned) const {
    const Fa2Layout& fa2 = planned.plan.fa2;
    for (const auto& [at, slots] : outputs_) {
      const int token = at.first;
      std::vector<int> sorted = slots;
      std::sort(sorted.begin(), sorted.end());
      if (!fa2.split) {
        ASSERT_EQ(sorted, std::vector<int>{token});
        continue;
      }
      const std::int32_t* merge = planned.at(fa2.merge_indptr) + token - fa2.first_merged_token;
      ASSERT_EQ(static_cast<int>(sorted.size()), merge[1] - merge[0]);
      for (std::size_t i = 0; i < sorted.size(); ++i) ASSERT_EQ(sorted[i], merge[0] + static_cast<int>(i));
      ASSERT_LT(sorted.back(), device_plan_partial_rows(shape_));
    }
  }

 private:
  void see(int token, int head, int query, int query_len, int context, int key) {
    const int position = context - query_len + query;
    if (key > position || (shape_.window > 0 && key < position - shape_.window + 1)) return;
    ++reads_[{token, head, key}];
  }
  void see_position(int token, int head, int row, int key) {
    const int query_len = step_.query_indptr[row + 1] - step_.query_indptr[row];
    see(token, head, token - step_.query_indptr[row], query_len, step_.context_lens[row], key);
  }

  const DevicePlanShape& shape_;
  const Step& step_;
  std::map<std::tuple<int, int, int>, int> reads_;
  std::map<std::pair<int, int>, std::vector<int>> outputs_;
};

void expect_right(const DevicePlanShape& shape, const Step& step) {
  const Planned planned(shape, step);
  Coverage fa2(shape, step), hopper(shape, step);
  fa2.read_fa2(planned);
  hopper.read_hopper(planned);
  fa2.expect_outputs(planned);
  for (int row = 0; row < static_cast<int>(step.context_lens.size()); ++row) {
    const int query_len = step.query_indptr[row + 1] - step.query_indptr[row];
    if (shape.min_hopper_queries > 0 && query_len >= shape.min_hopper_queries && !step.captured) {
      hopper.expect_complete(row, shape.num_heads);
    } else {
      fa2.expect_complete(row, shape.num_heads / shape.num_kv_heads);
    }
  }
}

TEST(DevicePlan, ReadsEveryKeyOnceInRandomSteps) {
  std::mt19937 random(7);
  const auto within = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 16; ++round) {
    const int num_kv_heads = 1 << within(0, 1), group = within(1, 5), head_dim = 64 << within(0, 2);
    const DevicePlanShape shape = shape_of(num_kv_heads * group, num_kv_heads, head_dim, within(0, 1) ? within(1, 300) : 0);
    Step step;
    for (int row = within(1, 8); row > 0; --row) {
      const int query_len = within(0, 3) == 0 ? within(2, 200) : 1;
      step.add(query_len, query_len + (within(0, 1) ? within(0, 200) : 0));
    }
    expect_right(shape, step);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(DevicePlan, SplitsTheContextOfALoneStream) {
  const DevicePlanShape shape = shape_of(8, 2, 128, 0);
  Step step;
  step.add(1, 3000);
  const Planned planned(shape, step);
  EXPECT_TRUE(planned.plan.fa2.split);
  EXPECT_EQ(planned.plan.fa2.query_tile, 16);
  EXPECT_EQ(planned.plan.fa2.num_items, (3000 + 127) / 128);
  EXPECT_EQ(planned.plan.hopper.num_items, 0);
  expect_right(shape, step);
}

TEST(DevicePlan, CountsTheChunksOfAWindowAsTheKernelDoes) {
  for (int window : {120, 244, 250, 254, 500, 511}) {
    const DevicePlanShape shape = shape_of(8, 2, 128, window);
    Step step;
    step.add(1, 3000);
    step.add(3, 400);
    EXPECT_TRUE(Planned(shape, step).plan.fa2.split);
    expect_right(shape, step);
  }
}

TEST(DevicePlan, DoesNotSplitABatchThatFillsTheProcessors) {
  const DevicePlanShape shape = shape_of(32, 8, 128, 0);
  Step step;
  for (int row = 0; row < 64; ++row) step.add(1, 1000 + row % 7);
  EXPECT_FALSE(Planned(shape, step).plan.fa2.split);
  step.context_lens[5] = 20000;  // one that would keep a block busy long after the others
  step.max_blocks = 20000 / kPage;
  EXPECT_TRUE(Planned(shape, step).plan.fa2.split);
}

TEST(DevicePlan, SharesPrefillsAmongProcessorsEvenly) {
  const DevicePlanShape shape = shape_of(32, 8, 128, 0);
  Step step;
  for (int row = 0; row < 2; ++row) step.add(2048, 2048);
  const Planned planned(shape, step);
  EXPECT_EQ(planned.plan.fa2.num_items, 0);
  ASSERT_EQ(planned.plan.hopper.num_items, 2 * 16 * 32);
  std::vector<double> load(132, 0.0);
  for (int processor = 0; processor < 132; ++processor) {
    for (int item = planned.at(planned.plan.hopper.work_indptr)[processor];
         item < planned.at(planned.plan.hopper.work_indptr)[processor + 1]; ++item) {
      load[processor] += 256 + 128 * (planned.at(planned.plan.hopper.query_tiles)[item] + 1);
    }
  }
  const auto [least, most] = std::minmax_element(load.begin(), load.end());
  EXPECT_LE(*most - *least, 256 + 2048) << "more than the dearest tile";
}

TEST(DevicePlan, OfAGraphDependsOnTokensAlone) {
  const DevicePlanShape shape = shape_of(32, 8, 128, 0);
  for (int num_tokens : {4, 16, 48, 64}) {
    std::vector<DevicePlan> plans;
    for (int num_rows : {num_tokens, num_tokens / 2}) {
      Step step;
      for (int row = 0; row < num_rows; ++row) step.add(1, 40 + 97 * row);
      step.num_tokens = num_tokens;
      step.captured = true;
      ASSERT_TRUE(can_capture(shape, step.view()));
      expect_right(shape, step);
      plans.push_back(Planned(shape, step).plan);
    }
    const Fa2Layout &a = plans[0].fa2, &b = plans[1].fa2;
    EXPECT_EQ(plans[0].num_elements, plans[1].num_elements);
    EXPECT_EQ(
        std::tie(a.num_items, a.query_tile, a.split, a.num_rows, a.first_merged_token, a.max_merged_tokens, a.page_indptr, a.output_indptr,
                 a.item_rows, a.item_query_tiles, a.item_kv_chunks, a.merge_indptr, a.chunk_tokens, a.num_merged_tokens, a.item_is_valid),
        std::tie(b.num_items, b.query_tile, b.split, b.num_rows, b.first_merged_token, b.max_merged_tokens, b.page_indptr, b.output_indptr,
                 b.item_rows, b.item_query_tiles, b.item_kv_chunks, b.merge_indptr, b.chunk_tokens, b.num_merged_tokens, b.item_is_valid));
  }
}

// Where chunks are fixed a context is cut at the same keys whatever else is in the step, and tiles are of one size.
TEST(DevicePlan, CutsContextsAtMultiplesOfAFixedChunk) {
  std::mt19937 random(11);
  const auto within = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
  for (int round = 0; round < 12; ++round) {
    DevicePlanShape shape = shape_of(8, 2, 128, 0);
    shape.min_hopper_queries = 0;
    shape.fixed_chunk = 64;
    shape.max_chunks = 8;
    Step step;
    step.captured = round % 2 == 1;
    for (int row = within(1, 8); row > 0; --row) {
      const int query_len = within(0, 2) == 0 && !step.captured ? within(2, 200) : 1;
      step.add(query_len, query_len + within(0, 300));
    }
    step.num_tokens = step.query_indptr.back();
    const Planned planned(shape, step);
    EXPECT_TRUE(planned.plan.fa2.split);
    EXPECT_EQ(planned.plan.fa2.query_tile, 64);
    EXPECT_EQ(planned.at(planned.plan.fa2.chunk_tokens)[0], 64);
    EXPECT_EQ(planned.plan.hopper.num_items, 0);
    EXPECT_TRUE(!step.captured || can_capture(shape, step.view()));
    expect_right(shape, step);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(DevicePlan, KeepsLongPromptsAndLopsidedBatchesOutOfGraphs) {
  const DevicePlanShape shape = shape_of(32, 8, 128, 0);
  Step step;
  step.add(64, 64);
  EXPECT_FALSE(can_capture(shape, step.view()));
  Step lopsided;
  for (int row = 0; row < 60; ++row) lopsided.add(1, 200);
  lopsided.add(1, 60000);
  EXPECT_FALSE(can_capture(shape, lopsided.view()));
}

TEST(DevicePlan, RefusesWhatDoesNotFit) {
  const DevicePlanShape shape = shape_of(8, 2, 128, 0);
  std::vector<std::int32_t> buffer(static_cast<std::size_t>(device_plan_capacity(shape)));
  DevicePlanner planner(shape);
  Step step;
  for (int row = 0; row < 65; ++row) step.add(1, 10);
  EXPECT_THROW(planner.plan(step.view(), {buffer.data(), static_cast<std::int64_t>(buffer.size())}), std::invalid_argument);
  Step without_new;
  without_new.add(0, 10);
  EXPECT_THROW(planner.plan(without_new.view(), {buffer.data(), static_cast<std::int64_t>(buffer.size())}), std::invalid_argument);
  EXPECT_THROW(DevicePlanner(shape_of(7, 2, 128, 0)), std::invalid_argument);
}

}  // namespace
}  // namespace octavo

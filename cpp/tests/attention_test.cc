#include "ops/attention/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "ops/attention/attention_kernels.h"
#include "ops/attention/attention_plan.h"
#include "tests/kernel_test.h"

namespace octavo {
namespace {

constexpr int kNumHeads = 6, kNumKvHeads = 2;

// One request of `length` tokens whose keys and values are in the cache.
struct Request {
  KVCache cache;
  std::vector<float> q;
  std::vector<std::int32_t> table;
  int length;

  Request(int head_dim, int length_, cpu::ThreadPool& pool, KVDtype dtype = KVDtype::fp32)
      : cache(1, (length_ + 15) / 16, 16, kNumKvHeads, head_dim, dtype),
        q(random_floats(length_ * kNumHeads * head_dim, 1)),
        table(static_cast<std::size_t>((length_ + 15) / 16)),
        length(length_) {
    std::iota(table.begin(), table.end(), 0);
    const std::vector<float> k = random_floats(length * kNumKvHeads * head_dim, 2), v = random_floats(length * kNumKvHeads * head_dim, 3);
    std::vector<std::int32_t> slots(static_cast<std::size_t>(length));
    std::iota(slots.begin(), slots.end(), 0);
    store_kv({k.data(), length, kNumKvHeads * head_dim}, {v.data(), length, kNumKvHeads * head_dim}, cache, 0, {slots.data(), length},
             pool);
  }

  void run(Matrix<const float> queries, Matrix<float> y, cpu::ThreadPool& pool, std::optional<int> window = std::nullopt) {
    const std::int32_t indptr[] = {0, static_cast<std::int32_t>(queries.rows)}, lens[] = {length};
    PagedAttention attention{{indptr, 2}, {lens, 1}, {table.data(), 1, static_cast<std::int64_t>(table.size())}, kNumHeads, 0.2f};
    attention.window = window;
    paged_attention(queries, cache, 0, attention, y, pool);
  }
};

class AttentionTest : public KernelTest {
 protected:
  cpu::ThreadPool pool_{3};
};

TEST_P(AttentionTest, WorksInPlaceAndOnStridedRows) {
  for (int head_dim : {8, 24, 64, 256}) {
    Request request(head_dim, 200, pool_);
    const std::int64_t cols = kNumHeads * head_dim, stride = cols + 7;
    std::vector<float> expected(request.q.size());
    request.run({request.q.data(), 200, cols}, {expected.data(), 200, cols}, pool_, 150);
    std::vector<float> wide(static_cast<std::size_t>(200 * stride), 99.0f);
    const Matrix<float> rows = Matrix<float>(wide.data(), 200, stride).columns(5, cols);
    for (int row = 0; row < 200; ++row) std::copy_n(request.q.data() + row * cols, cols, rows.row(row));
    request.run(rows, rows, pool_, 150);
    for (int row = 0; row < 200; ++row) {
      EXPECT_EQ(std::memcmp(rows.row(row), expected.data() + row * cols, static_cast<std::size_t>(cols) * 4), 0) << head_dim << ", " << row;
      EXPECT_EQ(wide[static_cast<std::size_t>(row * stride + 4)], 99.0f);
      EXPECT_EQ(wide[static_cast<std::size_t>(row * stride + 5 + cols)], 99.0f);
    }
  }
}

TEST_P(AttentionTest, SplitContextsGiveTheSameBits) {
  cpu::ThreadPool one(1);
  for (int length : {2000, 70000}) {  // the longer: a unit outlasts a wave of partial results, and another follows it
    for (KVDtype dtype : {KVDtype::fp32, KVDtype::int8}) {
      Request request(8, length, pool_, dtype);
      const std::int64_t cols = kNumHeads * 8;
      for (std::int64_t num_queries : {1, 3, 20}) {
        const Matrix<const float> queries(request.q.data(), num_queries, cols);
        std::vector<float> whole(static_cast<std::size_t>(num_queries * cols)), split(whole.size());
        request.run(queries, {whole.data(), num_queries, cols}, one);
        request.run(queries, {split.data(), num_queries, cols}, pool_);
        EXPECT_EQ(std::memcmp(whole.data(), split.data(), whole.size() * 4), 0) << length << ", " << num_queries;
      }
    }
  }
}

// Causal attention of `token`'s head over all tokens before it, in double precision.
std::vector<double> attend(const float* q, const std::vector<float>& k, const std::vector<float>& v, int kv_head, int head_dim, int token) {
  std::vector<double> sum(static_cast<std::size_t>(head_dim));
  double total = 0;
  for (int other = 0; other <= token; ++other) {
    const std::size_t at = static_cast<std::size_t>((other * kNumKvHeads + kv_head) * head_dim);
    double score = 0;
    for (int d = 0; d < head_dim; ++d) score += static_cast<double>(q[d]) * k[at + d];
    const double weight = std::exp(0.2 * score);
    total += weight;
    for (int d = 0; d < head_dim; ++d) sum[d] += weight * v[at + d];
  }
  for (double& value : sum) value /= total;
  return sum;
}

TEST_P(AttentionTest, FollowsItsFormula) {
  constexpr int kLength = 70;
  for (int head_dim : {8, 40}) {
    Request request(head_dim, kLength, pool_);
    const std::vector<float> k = random_floats(kLength * kNumKvHeads * head_dim, 2), v = random_floats(kLength * kNumKvHeads * head_dim, 3);
    const std::int64_t cols = kNumHeads * head_dim;
    std::vector<float> y(request.q.size());
    request.run({request.q.data(), kLength, cols}, {y.data(), kLength, cols}, pool_);
    for (int head = 0; head < kLength * kNumHeads; ++head) {
      const int kv_head = head % kNumHeads * kNumKvHeads / kNumHeads;
      const std::vector<double> expected = attend(request.q.data() + head * head_dim, k, v, kv_head, head_dim, head / kNumHeads);
      for (int d = 0; d < head_dim; ++d)
        ASSERT_NEAR(y[static_cast<std::size_t>(head * head_dim + d)], expected[d], 1e-5) << head << ", " << d;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, ::testing::ValuesIn(cpu::available_isas()),
                         [](const auto& isa) { return cpu::name_of(isa.param); });

// Requests of given (new tokens, context) as a plan sees them.
struct Batch {
  std::vector<std::int32_t> indptr{0}, lens, tables;
  PagedAttention attention;

  explicit Batch(const std::vector<std::pair<int, int>>& requests) {
    for (const auto& [num_queries, context_len] : requests) {
      indptr.push_back(indptr.back() + num_queries);
      lens.push_back(context_len);
    }
    attention.query_indptr = {indptr.data(), static_cast<std::int64_t>(indptr.size())};
    attention.context_lens = {lens.data(), static_cast<std::int64_t>(lens.size())};
    const int longest = (*std::max_element(lens.begin(), lens.end()) + 15) / 16;
    tables.resize(lens.size() * static_cast<std::size_t>(longest));  // of block 0
    attention.block_tables = {tables.data(), attention.context_lens.size, longest};
    attention.num_heads = kNumHeads;
  }
};

AttentionPlan planned(const PagedAttention& attention, const KVCache& cache, int num_threads) {
  AttentionPlan plan;
  plan.prepare(attention, cache, num_threads);
  return plan;
}

TEST(AttentionPlanTest, SplitsOnlyWhatWouldKeepOthersWaiting) {
  const KVCache cache(1, 1, 16, kNumKvHeads, 8);
  const Batch alone({{1, 1000}});
  EXPECT_EQ(planned(alone.attention, cache, 4).split().num_tasks(), kNumKvHeads * 8);
  EXPECT_EQ(planned(alone.attention, cache, 1).split().num_tasks(), 0);
  const Batch even(std::vector<std::pair<int, int>>(40, {1, 1000}));
  EXPECT_EQ(planned(even.attention, cache, 4).split().num_tasks(), 0);
  EXPECT_EQ(planned(even.attention, cache, 4).whole().num_tasks(), 40 * kNumKvHeads);
  const Batch uneven({{1, 64}, {1, 20000}, {0, 0}, {1, 64}});
  const AttentionPlan plan = planned(uneven.attention, cache, 4);
  EXPECT_EQ(plan.whole().num_tasks(), 2 * kNumKvHeads);
  EXPECT_EQ(plan.split().request_of(plan.split().num_tasks() - 1).request, 1);
  EXPECT_EQ(plan.whole().request_of(0).request, 0);
  EXPECT_EQ(plan.whole().request_of(2 * kNumKvHeads - 1).request, 3);
}

TEST(AttentionPlanTest, WindowsSkipSegments) {
  const KVCache cache(1, 1, 16, kNumKvHeads, 8);
  Batch batch({{1, 20000}});
  batch.attention.window = 200;
  const AttentionPlan plan = planned(batch.attention, cache, 2);
  EXPECT_EQ(plan.split().request_of(0).first_segment, 19800 / kSegmentTokens);
  EXPECT_LE(plan.split().num_tasks(), kNumKvHeads * 3);
}

}  // namespace
}  // namespace octavo

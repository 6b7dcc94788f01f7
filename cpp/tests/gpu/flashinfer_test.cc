// FlashInfer's attention on the device: against the formula in double precision, and in large steps against our own paged kernel.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "cuda/attention.h"
#include "gpu/device_tensor.h"

namespace octavo::cuda {
namespace {

using Values = std::vector<double>;
constexpr float kScale = 0.09f;

struct Case {
  int heads, kv_heads, head_dim, window;
  float softcap;
  std::vector<std::int32_t> queries, contexts;
};

std::string name_of(const Case& c) {
  std::string name =
      concat("heads ", c.heads, "/", c.kv_heads, " head_dim ", c.head_dim, " window ", c.window, " softcap ", c.softcap, ":");
  for (std::size_t row = 0; row < c.queries.size(); ++row) name += concat(" ", c.queries[row], " of ", c.contexts[row]);
  return name;
}

// A step over pages in a scattered order, on the host and on the device.
class PagedStep {
 public:
  // longest: context that the rows of the tables have room for.
  PagedStep(const Case& c, int num_pages, int longest = 0)
      : case_(c), max_blocks_((std::max(longest, *std::max_element(c.contexts.begin(), c.contexts.end())) + 15) / 16 + 3) {
    tables_.assign(c.queries.size() * static_cast<std::size_t>(max_blocks_), 0);
    int page = 0;
    for (std::size_t row = 0; row < c.queries.size(); ++row) {
      for (int block = 0; block * kPageTokens < c.contexts[row]; ++block, ++page) table(row)[block] = page * 7919 % num_pages;
      for (int i = 0; i < c.queries[row]; ++i) {
        positions_.push_back(c.contexts[row] - c.queries[row] + i);
        token_rows_.push_back(static_cast<std::int32_t>(row));
      }
      indptr_.push_back(static_cast<std::int32_t>(positions_.size()));
    }
    EXPECT_LE(page, num_pages);
    using Array = std::vector<std::int32_t>;
    for (const Array* values : std::initializer_list<const Array*>{&indptr_, &c.contexts, &tables_, &positions_, &token_rows_}) {
      arrays_.emplace_back(*values);
    }
  }

  int num_tokens() const { return indptr_.back(); }
  std::int32_t* table(std::size_t row) { return tables_.data() + row * static_cast<std::size_t>(max_blocks_); }
  AttentionStep view() const {
    AttentionStep step;
    step.host = {indptr_.data(), case_.contexts.data(), tables_.data(), positions_.data(), token_rows_.data()};
    step.device = {arrays_[0].data(), arrays_[1].data(), arrays_[2].data(), arrays_[3].data(), arrays_[4].data()};
    step.num_rows = static_cast<int>(case_.queries.size());
    step.num_tokens = num_tokens();
    step.max_blocks = max_blocks_;
    step.max_query_len = *std::max_element(case_.queries.begin(), case_.queries.end());
    step.max_context_len = *std::max_element(case_.contexts.begin(), case_.contexts.end());
    return step;
  }

  // softmax(cap(scale q . k)) . v in double precision.
  Values expected(const DeviceTensor& q, const DeviceTensor& pages) {
    Values y;
    for (std::size_t token = 0; token < positions_.size(); ++token) {
      for (int head = 0; head < case_.heads; ++head) add_head(q, pages, token, head, y);
    }
    return y;
  }

 private:
  void add_head(const DeviceTensor& q, const DeviceTensor& pages, std::size_t token, int head, Values& y) {
    const int position = positions_[token], begin = case_.window > 0 ? std::max(0, position + 1 - case_.window) : 0;
    const int first = head / (case_.heads / case_.kv_heads) * case_.head_dim;
    const std::int32_t* pages_of_row = table(static_cast<std::size_t>(token_rows_[token]));
    const auto row_of = [&](int p) { return std::int64_t{pages_of_row[p / kPageTokens]} * 2 * kPageTokens + p % kPageTokens; };
    Values weights, out(static_cast<std::size_t>(case_.head_dim), 0.0);
    for (int p = begin; p <= position; ++p) {
      double dot = 0.0;
      for (int d = 0; d < case_.head_dim; ++d) {
        dot += double{q.at(static_cast<std::int64_t>(token), head * case_.head_dim + d)} * pages.at(row_of(p), first + d);
      }
      dot *= kScale;
      weights.push_back(case_.softcap > 0.0f ? case_.softcap * std::tanh(dot / case_.softcap) : dot);
    }
    const double top = *std::max_element(weights.begin(), weights.end());
    double sum = 0.0;
    for (double& weight : weights) sum += weight = std::exp(weight - top);
    for (int p = begin; p <= position; ++p) {
      for (int d = 0; d < case_.head_dim; ++d) {
        out[static_cast<std::size_t>(d)] +=
            weights[static_cast<std::size_t>(p - begin)] / sum * pages.at(row_of(p) + kPageTokens, first + d);
      }
    }
    y.insert(y.end(), out.begin(), out.end());
  }

  const Case& case_;
  int max_blocks_;
  std::vector<std::int32_t> tables_, indptr_{0}, positions_, token_rows_;
  std::vector<DeviceInts> arrays_;
};

class FlashInfer : public testing::Test {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
  }

  static AttentionShape shape_of(const Case& c) {
    return {DType::bf16, DType::bf16, c.heads, c.kv_heads, c.head_dim, kScale, c.window, c.softcap};
  }
  // Null, and the test says why, where the instance was not compiled.
  static std::unique_ptr<Attention> make(const Case& c, int max_tokens) {
    std::string why_not;
    auto attention = make_flashinfer_attention(shape_of(c), {64, max_tokens, 65536}, why_not);
    if (!attention) std::printf("not run: %s: %s\n", name_of(c).c_str(), why_not.c_str());
    return attention;
  }
};

const std::vector<Case> kCases{
    // decode: one sequence of one key, lengths around pages and chunks, any group
    {8, 8, 128, 0, 0.0f, {1}, {1}},
    {32, 8, 128, 0, 0.0f, {1, 1, 1, 1}, {1, 16, 17, 1500}},
    {14, 2, 64, 0, 0.0f, {1, 1}, {300, 128}},
    {9, 3, 64, 0, 0.0f, {1, 1, 1}, {129, 4000, 5}},
    {16, 1, 128, 0, 0.0f, {1, 1}, {700, 33}},
    {32, 1, 64, 0, 0.0f, {1}, {90}},
    {8, 4, 256, 0, 0.0f, {1, 1}, {500, 20}},
    // prompts on an empty and on a filled cache, around the Hopper tiles
    {4, 2, 128, 0, 0.0f, {128}, {128}},
    {4, 2, 128, 0, 0.0f, {129, 64, 200}, {129, 640, 333}},
    {6, 2, 64, 0, 0.0f, {193, 65}, {193, 500}},
    {4, 2, 256, 0, 0.0f, {130}, {411}},
    // both in a step, in any order
    {8, 2, 128, 0, 0.0f, {1, 150, 1, 7, 90, 1}, {40, 150, 900, 77, 300, 1}},
    {6, 3, 64, 0, 0.0f, {100, 1, 1, 33}, {700, 33, 1200, 33}},
    // windows shorter and longer than the chunk, the page and the context
    {4, 2, 128, 5, 0.0f, {1, 1}, {3, 500}},
    {4, 2, 128, 100, 0.0f, {300, 1, 20}, {700, 901, 50}},
    {4, 2, 128, 1000, 0.0f, {256, 1}, {400, 1300}},
    {4, 2, 64, 33, 0.0f, {400}, {600}},
    {4, 1, 256, 64, 0.0f, {140, 1}, {310, 310}},
    // soft caps
    {4, 2, 256, 0, 30.0f, {1, 3, 100}, {200, 90, 150}},
    {4, 2, 256, 50, 50.0f, {1, 130}, {200, 260}},
    {4, 2, 128, 0, 20.0f, {1, 130}, {200, 260}},
};

TEST_F(FlashInfer, EqualsTheFormula) {
  int num_run = 0;
  for (const Case& c : kCases) {
    constexpr int kPages = 512;
    PagedStep step(c, kPages);
    const auto attention = make(c, 4096);
    if (!attention) continue;
    ++num_run;
    SCOPED_TRACE(name_of(c));
    // q and y as the op gets them: q a range of columns of a fused product, y poisoned
    const auto qkv = DeviceTensor::random(step.num_tokens(), (c.heads + 2 * c.kv_heads) * c.head_dim, DType::bf16, 1, 2.0f);
    const auto pages = DeviceTensor::random(kPages * 2 * kPageTokens, c.kv_heads * c.head_dim, DType::bf16, 2);
    DeviceTensor y(step.num_tokens(), c.heads * c.head_dim, DType::bf16);
    for (int repeat = 0; repeat < 3; ++repeat) {
      attention->plan(step.view(), nullptr);
      attention->run(qkv.columns(0, c.heads * c.head_dim), pages.view().data, y.view(), nullptr);
    }
    const double error = relative_error(y.get(), step.expected(qkv, pages));
    EXPECT_LE(error, tolerance(DType::bf16));
    std::printf("%.2e %s\n", error, name_of(c).c_str());
  }
  EXPECT_GT(num_run, 0);
}

TEST_F(FlashInfer, EqualsTheOwnKernelInLargeSteps) {
  const std::vector<std::int32_t> decode(64, 1);
  std::vector<std::int32_t> lengths;
  for (int row = 0; row < 64; ++row) lengths.push_back(200 + 61 * row % 1900);
  std::vector<std::int32_t> lopsided(64, 150);
  lopsided[9] = 30000;
  for (const Case& c : {Case{32, 8, 128, 0, 0.0f, {2048, 2048}, {2048, 2500}}, Case{32, 8, 128, 0, 0.0f, decode, lengths},
                        Case{14, 2, 64, 0, 0.0f, {4000}, {4000}}, Case{32, 8, 128, 0, 0.0f, decode, lopsided},
                        Case{32, 8, 128, 512, 0.0f, {3000}, {6000}}}) {
    const int num_pages = (std::accumulate(c.contexts.begin(), c.contexts.end(), 0) + 16 * 64) / 16 + 1;
    const PagedStep step(c, num_pages);
    const auto attention = make(c, 4096);
    if (!attention) continue;
    SCOPED_TRACE(name_of(c));
    const auto q = DeviceTensor::random(step.num_tokens(), c.heads * c.head_dim, DType::bf16, 1, 2.0f);
    const auto pages = DeviceTensor::random(std::int64_t{num_pages} * 2 * kPageTokens, c.kv_heads * c.head_dim, DType::bf16, 2);
    DeviceTensor y(step.num_tokens(), c.heads * c.head_dim, DType::bf16), own_y(step.num_tokens(), c.heads * c.head_dim, DType::bf16);
    attention->plan(step.view(), nullptr);
    attention->run(q.view(), pages.view().data, y.view(), nullptr);
    const auto own = make_paged_attention(shape_of(c), {64, 4096, 65536});
    own->plan(step.view(), nullptr);
    own->run(q.view(), pages.view().data, own_y.view(), nullptr);
    const std::vector<float> expected = own_y.get();
    EXPECT_LE(relative_error(y.get(), Values(expected.begin(), expected.end())), tolerance(DType::bf16));
  }
}

// One capture serves every step of its size: fewer sequences, other lengths, other pages.
TEST_F(FlashInfer, ReplaysInAGraph) {
  for (const int num_tokens : {4, 48}) {
    Case first{32, 8, 128, 0, 0.0f, std::vector<std::int32_t>(static_cast<std::size_t>(num_tokens), 1), {}};
    for (int row = 0; row < num_tokens; ++row) first.contexts.push_back(30 + 20 * row);
    Case second = first;
    for (std::int32_t& length : second.contexts) length = 1 + length * 13 % 900;
    const auto attention = make(first, 4096);
    if (!attention) return;
    constexpr int kPages = 4096;
    const auto q = DeviceTensor::random(num_tokens, first.heads * first.head_dim, DType::bf16, 1, 2.0f);
    const auto pages = DeviceTensor::random(kPages * 2 * kPageTokens, first.kv_heads * first.head_dim, DType::bf16, 2);
    DeviceTensor y(num_tokens, first.heads * first.head_dim, DType::bf16);
    Stream stream;
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
    // The arrays stand at fixed addresses; what is in them changes.
    constexpr int kLongest = 1000;
    PagedStep a(first, kPages, kLongest), b(second, kPages, kLongest);
    AttentionStep fixed = a.view(), later = b.view();
    fixed.captured = true;
    ASSERT_TRUE(attention->can_capture(fixed));
    attention->plan(fixed, stream);
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    attention->run(q.view(), pages.view().data, y.view(), stream);
    check(cudaStreamEndCapture(stream, &graph), "capture");
    check(cudaGraphInstantiate(&executable, graph, 0), "graph");
    const auto replay = [&](const AttentionStep& step) {
      attention->plan(step, stream);
      check(cudaGraphLaunch(executable, stream), "graph");
      check(cudaStreamSynchronize(stream), "graph");
    };
    replay(fixed);
    EXPECT_LE(relative_error(y.get(), a.expected(q, pages)), tolerance(DType::bf16));
    ASSERT_EQ(later.max_blocks, fixed.max_blocks);
    check(cudaMemcpy(const_cast<std::int32_t*>(fixed.device.block_tables), later.host.block_tables,
                     static_cast<std::size_t>(num_tokens) * static_cast<std::size_t>(fixed.max_blocks) * 4, cudaMemcpyHostToDevice),
          "tables");
    check(cudaMemcpy(const_cast<std::int32_t*>(fixed.device.context_lens), later.host.context_lens,
                     static_cast<std::size_t>(num_tokens) * 4, cudaMemcpyHostToDevice),
          "lengths");
    AttentionStep mixed = fixed;
    mixed.host = later.host;
    replay(mixed);
    EXPECT_LE(relative_error(y.get(), b.expected(q, pages)), tolerance(DType::bf16));
    check(cudaGraphExecDestroy(executable), "graph");
    check(cudaGraphDestroy(graph), "graph");
    check(cudaStreamDestroy(stream), "stream");
  }
}

}  // namespace
}  // namespace octavo::cuda

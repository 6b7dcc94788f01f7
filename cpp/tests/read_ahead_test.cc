#include "cpu/read_ahead.h"

#include <gtest/gtest.h>

#include "ops/attention/kv_read_ahead.h"

namespace octavo {
namespace {

TEST(ReadAheadTest, SharesMeetWithoutGaps) {
  const cpu::ReadAhead whole{nullptr, 0, nullptr, 100, 30, 1030};
  std::int64_t at = 30;
  for (int part = 0; part < 7; ++part) {
    const cpu::ReadAhead share = whole.share(part, part + 1, 7);
    EXPECT_EQ(share.begin, at);
    EXPECT_EQ(share.chunk_bytes, 100);
    at = share.end;
  }
  EXPECT_EQ(at, 1030);
}

// Two layers, blocks of 16 or 32 tokens, two requests: 70 tokens in the cache of which 3 are new, and 40 of which 40 are.
std::vector<std::int32_t> pages_of_layer_1(const KVCache& cache, std::optional<int> window, std::vector<std::int32_t> tables) {
  const std::int32_t indptr[] = {0, 3, 43}, lens[] = {70, 40};
  KVReadAhead ahead(cache, window);
  ahead.list({indptr, 3}, {lens, 2}, {tables.data(), 2, static_cast<std::int64_t>(tables.size() / 2)});
  const cpu::ReadAhead pages = ahead.of_layer(1);
  EXPECT_EQ(pages.chunk_bytes, cache.num_kv_heads() * cache.layout().num_bytes);
  EXPECT_EQ(pages.begin, 0);
  std::vector<std::int32_t> indices(pages.indices, pages.indices + pages.end / pages.chunk_bytes);
  for (std::int32_t index : indices) EXPECT_EQ(pages.base + index * pages.stride, cache.page(1, index, 0));
  return indices;
}

TEST(KVReadAheadTest, ListsWhatAttentionReadsOnce) {
  if (cpu::last_level_cache_bytes() == 0) GTEST_SKIP() << "the system does not tell the size of its caches";
  const KVCache cache(2, 16, 16, 2, 64);
  EXPECT_EQ(pages_of_layer_1(cache, std::nullopt, {4, 5, 6, 7, 8, 9, 3, 2, 0, 0}), (std::vector{4, 5, 6, 7, 8, 9, 3, 2}));
  EXPECT_EQ(pages_of_layer_1(cache, std::nullopt, {4, 5, 6, 7, 8, 4, 5, 9, 0, 0}), (std::vector{4, 5, 6, 7, 8, 9})) << "a shared prefix";
  EXPECT_EQ(pages_of_layer_1(cache, 20, {4, 5, 6, 7, 8, 9, 3, 2, 0, 0}), (std::vector{7, 8, 9, 3, 2})) << "from 67 - 19 on, and from 0";
  const KVCache large_blocks(2, 16, 32, 2, 64);
  EXPECT_EQ(pages_of_layer_1(large_blocks, std::nullopt, {4, 5, 6, 9, 3, 0}), (std::vector{8, 9, 10, 11, 12, 18, 19, 6}));
}

}  // namespace
}  // namespace octavo

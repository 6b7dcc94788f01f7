// Block allocator and prefix index: what a scheduled block costs. Times are for one block.
#include <memory>
#include <optional>
#include <random>

#include "bench/harness.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/prefix_index.h"

namespace octavo::bench {
namespace {

using cache::BlockHash;
using cache::BlockPool;
using cache::BlockTable;

constexpr std::int32_t kNumBlocks = 1 << 16, kBlockSize = 16;

void per_block(benchmark::State& state, std::int64_t num_blocks) {
  state.counters["s/block"] =
      benchmark::Counter(static_cast<double>(state.iterations() * num_blocks), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void bench_allocate_release(benchmark::State& state) {
  BlockPool pool(kNumBlocks, kBlockSize, true, 1);
  for (auto _ : state) pool.release(pool.allocate());
  per_block(state, 1);
}
BENCHMARK(bench_allocate_release)->Name("block_pool/allocate_release");

// A prompt's life: take its blocks, hash and publish them, give them back. Every prompt is new, so older blocks are evicted.
void bench_new_prompt(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0);
  const auto pool = std::make_shared<BlockPool>(kNumBlocks, kBlockSize, true, 1);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(num_tokens));
  for (auto _ : state) {
    ++tokens[0];
    BlockTable table({{pool, std::nullopt}});
    benchmark::DoNotOptimize(table.match_prefix(tokens.data(), tokens.size()));
    table.grow(num_tokens);
    table.commit(tokens.data(), tokens.size());
  }
  per_block(state, num_tokens / kBlockSize);
}
BENCHMARK(bench_new_prompt)->Name("block_table/new_prompt")->ArgName("tokens")->Arg(512)->Arg(8192);

// A prompt that is cached: hash its blocks, find and share them, give them back.
void bench_cached_prompt(benchmark::State& state) {
  const std::int64_t num_tokens = state.range(0);
  const auto pool = std::make_shared<BlockPool>(kNumBlocks, kBlockSize, true, 1);
  const std::vector<std::int32_t> tokens(static_cast<std::size_t>(num_tokens), 7);
  BlockTable first({{pool, std::nullopt}});
  first.grow(num_tokens);
  first.commit(tokens.data(), tokens.size());
  for (auto _ : state) {
    BlockTable table({{pool, std::nullopt}});
    benchmark::DoNotOptimize(table.match_prefix(tokens.data(), tokens.size()));
  }
  per_block(state, num_tokens / kBlockSize);
}
BENCHMARK(bench_cached_prompt)->Name("block_table/cached_prompt")->ArgName("tokens")->Arg(512)->Arg(8192);

// Look-ups in an index of `size` entries, in an order that no cache helps.
void bench_find(benchmark::State& state) {
  const auto size = static_cast<std::int32_t>(state.range(0));
  cache::PrefixIndex index(size);
  std::mt19937_64 generator(1);
  std::vector<BlockHash> hashes(static_cast<std::size_t>(size));
  for (std::int32_t block = 0; block < size; ++block) {
    hashes[block] = {generator(), generator()};
    index.insert(hashes[block], block);
  }
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(index.find(hashes[next]));
    next = (next + 7919) % hashes.size();
  }
  per_block(state, 1);
}
BENCHMARK(bench_find)->Name("prefix_index/find")->ArgName("size")->Arg(1 << 10)->Arg(1 << 20);

}  // namespace
}  // namespace octavo::bench

// Block hash, prefix index, free list, block tables. The state machine of the pool is tested against a model from Python.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

#include "cache/block_hash.h"
#include "cache/block_pool.h"
#include "cache/block_table.h"
#include "cache/free_list.h"
#include "cache/prefix_index.h"

namespace octavo::cache {
namespace {

// Key bytes 00 01 .. 0f and messages 00 01 .. of the given length, as the authors' test vectors have it.
constexpr SipKey kVectorKey{0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

BlockHash sip_of_counting_bytes(std::size_t size) {
  std::array<unsigned char, 64> message;
  std::iota(message.begin(), message.end(), static_cast<unsigned char>(0));
  return SipHash128(kVectorKey).finish(message.data(), size);
}

TEST(BlockHash, MatchesTheVectorsOfSipHash128) {
  EXPECT_EQ(sip_of_counting_bytes(0), (BlockHash{0xe6a825ba047f81a3u, 0x930255c71472f66du}));
  EXPECT_EQ(sip_of_counting_bytes(1), (BlockHash{0x44af996bd8c187dau, 0x45fc229b11597634u}));
  EXPECT_EQ(sip_of_counting_bytes(15), (BlockHash{0x11a8b03399e99354u, 0xd9c3cf970fec087eu}));
  EXPECT_EQ(sip_of_counting_bytes(16), (BlockHash{0xbb54b067caa4e26eu, 0x77052385bf1533fdu}));
  EXPECT_EQ(sip_of_counting_bytes(63), (BlockHash{0x4a83502f77d15051u, 0x7cbd3f979a063e50u}));
}

TEST(BlockHash, WordsAbsorbedCountAsBytesOfTheMessage) {
  std::array<unsigned char, 24> message;
  std::iota(message.begin(), message.end(), static_cast<unsigned char>(0));
  SipHash128 sip(kVectorKey);
  sip.absorb(0x0706050403020100u);
  EXPECT_EQ(sip.finish(message.data() + 8, 8), sip_of_counting_bytes(16));
}

TEST(BlockHash, DependsOnSeedParentTokensAndExtras) {
  const std::vector<std::int32_t> tokens{1, 2, 3};
  const std::vector<std::int32_t> others{1, 2, 4};
  const BlockHasher hasher(7);
  const BlockHash root = hasher.root("");
  const BlockHash block = hasher.block(root, tokens.data(), 3);
  EXPECT_EQ(block, BlockHasher(7).block(root, tokens.data(), 3));
  EXPECT_NE(block, BlockHasher(8).block(root, tokens.data(), 3));
  EXPECT_NE(block, hasher.block(hasher.root("salt"), tokens.data(), 3));
  EXPECT_NE(block, hasher.block(root, others.data(), 3));
  EXPECT_NE(block, hasher.block(root, tokens.data(), 2));
}

TEST(PrefixIndex, AgreesWithAMapWhereHomesCollide) {
  constexpr std::int32_t kMaxSize = 12;
  std::mt19937 random(3);
  PrefixIndex index(kMaxSize);
  std::map<std::uint64_t, BlockId> model;  // by hash.high
  for (int i = 0; i < 20000; ++i) {
    const std::uint64_t key = random() % 40;
    const BlockHash hash{~std::uint64_t{0} - key % 5, key};  // five homes, at the table's end: probes wrap around
    if (random() % 2 == 0) {
      index.erase(hash);
      model.erase(key);
    } else if (static_cast<std::int32_t>(model.size()) < kMaxSize) {
      EXPECT_EQ(index.insert(hash, i), model.emplace(key, i).second);
    }
    ASSERT_EQ(index.size(), static_cast<std::int32_t>(model.size()));
    for (std::uint64_t other = 0; other < 40; ++other) {
      const auto known = model.find(other);
      const std::optional<BlockId> expected = known == model.end() ? std::nullopt : std::optional<BlockId>(known->second);
      ASSERT_EQ(index.find({~std::uint64_t{0} - other % 5, other}), expected);
    }
  }
  index.clear();
  EXPECT_EQ(index.size(), 0);
}

TEST(FreeList, TakesFromTheFrontAndKeepsItsLinks) {
  FreeList list(4);
  EXPECT_EQ(list.pop_front(), 0);
  list.remove(2);
  list.push_front(2);
  list.push_back(0);
  std::vector<BlockId> order;
  EXPECT_TRUE(list.walk([&](BlockId id) {
    order.push_back(id);
    return true;
  }));
  EXPECT_EQ(order, (std::vector<BlockId>{2, 1, 3, 0}));
  while (list.size() > 0) list.pop_front();
  EXPECT_TRUE(list.walk([](BlockId) { return false; }));
}

class BlockTableTest : public ::testing::Test {
 protected:
  static constexpr std::int32_t kBlockSize = 4;

  std::unique_ptr<BlockTable> filled(const std::vector<std::int32_t>& tokens) {
    auto table = std::make_unique<BlockTable>(groups());
    const auto matched = static_cast<std::size_t>(table->match_prefix(tokens.data(), tokens.size()));
    EXPECT_TRUE(table->grow(static_cast<std::int64_t>(tokens.size())));
    table->commit(tokens.data() + matched, tokens.size() - matched);
    pool_->check_integrity();
    return table;
  }

  std::vector<CacheGroup> groups() const { return {{pool_, std::nullopt}}; }

  std::shared_ptr<BlockPool> pool_ = std::make_shared<BlockPool>(8, kBlockSize, true, 42);
  std::vector<std::int32_t> tokens_ = {1, 2, 3, 4, 5, 6, 7, 8, 9};
};

TEST_F(BlockTableTest, SharesCachedBlocksWithALiveSequence) {
  const auto first = filled(tokens_);
  const auto second = filled(tokens_);
  EXPECT_EQ(second->num_committed(), 9);
  const std::vector<BlockId> ids = first->block_ids(0), others = second->block_ids(0);
  EXPECT_TRUE(std::equal(ids.begin(), ids.begin() + 2, others.begin()));
  EXPECT_NE(first->block_ids(0)[2], second->block_ids(0)[2]);
  EXPECT_EQ(pool_->num_free(), 4);
  EXPECT_EQ(pool_->num_cached(), 2);
}

TEST_F(BlockTableTest, LeavesOneTokenToCompute) {
  filled(tokens_)->free();
  BlockTable table(groups());
  EXPECT_EQ(table.match_prefix(tokens_.data(), 8), 4);
}

TEST_F(BlockTableTest, KeepsADuplicateUnpublished) {
  BlockTable first(groups());
  BlockTable second(groups());
  for (BlockTable* table : {&first, &second}) {
    ASSERT_TRUE(table->grow(4));
    table->commit(tokens_.data(), 4);
  }
  EXPECT_EQ(pool_->num_cached(), 1);
  const BlockId duplicate = second.block_ids(0)[0];
  second.free();
  BlockTable next(groups());
  EXPECT_EQ(next.grow(1), BlockTable::BlockIds{{duplicate}});  // not cached: taken first
}

TEST_F(BlockTableTest, GrowsByAllOrNothing) {
  BlockTable table(groups());
  ASSERT_TRUE(table.grow(8));
  EXPECT_EQ(table.grow(33), std::nullopt);
  EXPECT_EQ(table.block_ids(0).size(), 2u);
  EXPECT_EQ(table.grow(32)->front().size(), 6u);
  EXPECT_TRUE(table.grow(5)->front().empty());
  EXPECT_THROW(table.grow(-1), std::invalid_argument);
}

TEST_F(BlockTableTest, RefusesToCommitBeyondItsBlocks) {
  BlockTable table(groups());
  ASSERT_TRUE(table.grow(4));
  EXPECT_THROW(table.commit(tokens_.data(), 5), std::invalid_argument);
  EXPECT_EQ(table.num_committed(), 0);
}

TEST_F(BlockTableTest, PublishesNothingOlderThanAReset) {
  const auto table = filled(tokens_);
  pool_->reset_prefix_cache();
  ASSERT_TRUE(table->grow(12));
  table->commit(tokens_.data(), 3);
  EXPECT_EQ(pool_->num_cached(), 0);
  BlockTable fork(groups());
  EXPECT_EQ(fork.fork(*table, 12), 12);
  ASSERT_TRUE(fork.grow(16));
  fork.commit(tokens_.data(), 4);
  EXPECT_EQ(pool_->num_cached(), 0);
}

TEST_F(BlockTableTest, ForksWithoutPrefixCaching) {
  pool_ = std::make_shared<BlockPool>(8, kBlockSize, false, 42);
  const auto parent = filled(tokens_);
  BlockTable child(groups());
  EXPECT_EQ(child.fork(*parent, 9), 8);
  EXPECT_EQ(pool_->num_free(), 5);
  EXPECT_EQ(pool_->num_cached(), 0);
  pool_->check_integrity();
}

TEST_F(BlockTableTest, ForksInsideABlockByACopy) {
  const auto parent = filled(tokens_);
  BlockTable child(groups());
  EXPECT_EQ(child.fork(*parent, 7), 4);
  const auto copies = child.copy_last(*parent, 7);
  ASSERT_TRUE(copies);
  EXPECT_EQ(copies->front().first, parent->block_ids(0)[1]);
  EXPECT_EQ(copies->front().second, child.block_ids(0)[1]);
  child.commit(tokens_.data() + 4, 3);
  EXPECT_EQ(child.num_committed(), 7);
  EXPECT_THROW(child.copy_last(*parent, 10), std::invalid_argument);
  pool_->check_integrity();
}

TEST_F(BlockTableTest, GivesBlocksBehindAWindowBack) {
  const auto full = std::make_shared<BlockPool>(8, kBlockSize, true, 42);
  const std::vector<CacheGroup> two{{full, std::nullopt}, {pool_, 5}};
  BlockTable table(two);
  ASSERT_TRUE(table.grow(16));
  table.commit(std::vector<std::int32_t>(16, 3).data(), 16);
  table.release_before(12);  // token 12 sees tokens 8 .. 12
  EXPECT_EQ(table.num_held(0), 4);
  EXPECT_EQ(table.first_held(1), 2);
  EXPECT_EQ(table.num_held(1), 2);
  EXPECT_EQ(pool_->num_free(), 6);
  EXPECT_EQ(pool_->num_cached(), 4);
  BlockTable other(two);
  EXPECT_EQ(other.fork(table, 8), std::nullopt);  // it would see what was given back
  EXPECT_EQ(other.match_prefix(std::vector<std::int32_t>(17, 3).data(), 17), 16);
  EXPECT_EQ(other.num_held(1), 1);
  pool_->check_integrity();
  full->check_integrity();
}

TEST_F(BlockTableTest, OutlivesEveryOtherOwnerOfThePool) {
  auto table = filled(tokens_);
  pool_.reset();
  EXPECT_EQ(table->grow(32)->front().size(), 5u);
}

TEST_F(BlockTableTest, ShowsTheStateOfEachBlock) {
  EXPECT_EQ(pool_->states(), std::vector<BlockState>(8, BlockState::kFree));
  auto first = filled(tokens_);  // two full blocks and the one of the last token
  auto second = filled(tokens_);
  const auto state = [&](BlockId id) { return pool_->states().at(static_cast<std::size_t>(id)); };
  const std::vector<BlockId> ids = first->block_ids(0);
  EXPECT_EQ(state(ids[0]), BlockState::kShared);
  EXPECT_EQ(state(ids[1]), BlockState::kShared);
  EXPECT_EQ(state(ids[2]), BlockState::kHeld);
  second->free();
  EXPECT_EQ(state(ids[0]), BlockState::kHeld);
  first->free();
  EXPECT_EQ(state(ids[0]), BlockState::kCached);
  EXPECT_EQ(state(ids[2]), BlockState::kFree);
  pool_->reset_prefix_cache();
  EXPECT_EQ(pool_->states(), std::vector<BlockState>(8, BlockState::kFree));
}

TEST(BlockPool, NamesTheBlockOfABrokenInvariant) {
  BlockPool pool(4, 2, true, 0);
  pool.allocate();
  pool.release(0);
  pool.release(0);
  try {
    pool.check_integrity();
    FAIL() << "a block released twice went unnoticed";
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("block"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace octavo::cache

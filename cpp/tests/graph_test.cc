#include "program/graph.h"

#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "program/arena.h"
#include "program/op_def.h"
#include "program/record.h"

namespace octavo::program {
namespace {

class ShapedWeight : public Weight {
 public:
  ShapedWeight(const char* kind, std::vector<std::int64_t> shape) : kind_(kind), shape_(std::move(shape)) {}
  const char* kind() const override { return kind_; }
  std::vector<std::int64_t> shape() const override { return shape_; }

 private:
  const char* kind_;
  std::vector<std::int64_t> shape_;
};

std::shared_ptr<const Weight> linear_weight(std::int64_t rows, std::int64_t cols) {
  return std::make_shared<ShapedWeight>("linear", std::vector<std::int64_t>{rows, cols});
}

const OpDef kLook{"look",
                  [](Infer& op) {
                    op.weight("table", "embedding", "[V, E]");
                    op.write("[tokens, E]");
                  },
                  nullptr};
const OpDef kMultiply{"multiply",
                      [](Infer& op) {
                        op.weight("weight", "linear", "[N, K]");
                        op.read("x", "[R, K]");
                        op.optional_weight("bias", "array", "[N]");
                        op.write("[R, N]");
                      },
                      nullptr};
const OpDef kGate{"gate",
                  [](Infer& op) {
                    op.read("x", "[R, 2*F]");
                    op.write("[R, F]");
                  },
                  nullptr};
const OpDef kSpread{"spread",
                    [](Infer& op) {
                      op.read("x", "[R, H*head_dim]");
                      op.write("[R*copies, head_dim]", ValueType::float32);
                    },
                    nullptr};
const OpDef kPick{"pick",
                  [](Infer& op) {
                    op.read("x", "[tokens, E]");
                    op.write("[logits, E]");
                  },
                  nullptr};
const OpDef kStore{"store",
                   [](Infer& op) {
                     const CacheSpec& spec = op.cache(CacheSpec::Kind::paged_kv);
                     op.read("k", "[tokens, C]");
                     op.check(op.size("C") == spec.kv_heads * spec.head_dim, "k has ", op.size("C"), " columns");
                   },
                   nullptr};

std::string failure(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "";
}

struct Recorded : testing::Test {
  Graph graph;
  ValueId x = record(graph, kLook, {}, {std::make_shared<ShapedWeight>("embedding", std::vector<std::int64_t>{100, 64})})[0];
};

using GraphTest = Recorded;

TEST_F(GraphTest, LettersAreBoundOnFirstSightAndWordsAreAttributes) {
  const ValueId y = record(graph, kMultiply, {x}, {linear_weight(32, 64)})[0];
  const ValueId half = record(graph, kGate, {y})[0];
  const ValueId rows = record(graph, kSpread, {half}, {}, Attributes({{"head_dim", std::int64_t{8}}, {"copies", std::int64_t{3}}}))[0];
  EXPECT_EQ(graph.values[half].cols, 16);
  EXPECT_EQ(graph.values[rows].cols, 8);
  EXPECT_EQ(graph.storage_of(rows).rows_factor, 3);
  EXPECT_EQ(graph.storage_of(rows).type, ValueType::float32);
  EXPECT_EQ(describe(graph),
            "look() -> %0 [tokens, 64]\nmultiply(%0) -> %1 [tokens, 32]\ngate(%1) -> %2 [tokens, 16]\n"
            "spread(%2) -> %3 [tokens * 3, 8] float32\n");
}

TEST_F(GraphTest, AnOpThatDoesNotFitIsRefusedByNameAndLeavesNothing) {
  EXPECT_EQ(failure([&] { record(graph, kMultiply, {x}, {linear_weight(32, 48)}); }),
            "multiply: x is [tokens, 64], expected [R, K] with K = 48, N = 32");
  EXPECT_EQ(failure([&] { record(graph, kMultiply, {x}, {}); }), "multiply: the weight weight is missing");
  EXPECT_EQ(failure([&] { record(graph, kGate, {x, x}); }), "gate: 2 values to read, expected 1");
  EXPECT_EQ(failure([&] { record(graph, kSpread, {x}, {}, Attributes({{"copies", std::int64_t{3}}})); }),
            "spread: the attribute head_dim is missing");
  const ValueId picked = record(graph, kPick, {x})[0];
  EXPECT_EQ(failure([&] { record(graph, kPick, {picked}); }), "pick: x is [logits, 64], expected [tokens, E]");
  EXPECT_EQ(graph.ops.size(), 2u);
  EXPECT_EQ(graph.values.size(), 2u);
}

TEST_F(GraphTest, AViewKeepsItsStorageInUse) {
  const ValueId view = record_columns(graph, x, 16, 32);
  record(graph, kGate, {x});
  record(graph, kGate, {view});
  EXPECT_EQ(graph.storage_of(x).first_op, 0);
  EXPECT_EQ(graph.storage_of(x).last_op, 2);
  EXPECT_EQ(graph.values[view].first_col, 16);
  EXPECT_THROW(record_columns(graph, view, 0, 33), std::invalid_argument);
}

TEST_F(GraphTest, EqualCachesFormAGroup) {
  const CacheSpec full{CacheSpec::Kind::paged_kv, 2, 32}, windowed{CacheSpec::Kind::paged_kv, 2, 32, 128};
  const int first = record_cache(graph, windowed), second = record_cache(graph, full), third = record_cache(graph, windowed);
  EXPECT_EQ(graph.caches[first].group, graph.caches[third].group);
  EXPECT_EQ(graph.caches[third].layer, 1);
  EXPECT_NE(graph.caches[first].group, graph.caches[second].group);
  EXPECT_EQ(graph.cache_groups[0].num_layers, 2);
  record(graph, kStore, {x}, {}, {}, second);
  EXPECT_EQ(graph.cache_spec_of(graph.ops.back()).window, std::nullopt);
  EXPECT_EQ(failure([&] { record(graph, kStore, {x}); }), "store: the cache is missing");
}

TEST_F(GraphTest, TheArenaKeepsOutputsAndSharesTheRest) {
  const ValueId picked = record(graph, kPick, {x})[0];
  record_output(graph, "hidden", x);
  ValueId y = x;
  for (int i = 0; i < 6; ++i) y = record(graph, kMultiply, {y}, {linear_weight(64, 64)})[0];
  record_output(graph, "logits", picked);
  const ArenaLayout layout = lay_out(graph, {{"tokens", 10}, {"logits", 2}}, 2, 256, {{3, 1000}});
  const std::int64_t tokens = 10 * 64 * 2, logits = 2 * 64 * 2;
  EXPECT_EQ(layout.num_bytes, 3 * tokens + logits + 1024);
  EXPECT_EQ(layout.scratch_offsets.size(), 1u);
  for (std::int64_t offset : layout.storage_offsets) EXPECT_EQ(offset % 256, 0);
  EXPECT_EQ(failure([&] { lay_out(graph, {{"tokens", 10}}, 2, 256); }), "arena: the most rows of logits are not given");
}

}  // namespace
}  // namespace octavo::program

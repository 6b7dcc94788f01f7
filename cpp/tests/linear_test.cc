#include "ops/linear/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "ops/embedding/embedding.h"
#include "ops/linear/dequantize.h"
#include "ops/linear/half.h"
#include "tests/kernel_test.h"

namespace octavo {
namespace {

// Random bytes in which no half float is infinite or NaN.
std::vector<std::uint8_t> random_blocks(Format format, std::int64_t num_elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(format_bytes(format, num_elements)));
  std::mt19937 generator(11);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator() & 0xbb);
  return bytes;
}

class LinearTest : public KernelTest {
 protected:
  cpu::ThreadPool pool_{2};
};

TEST_P(LinearTest, LeavesMemoryAroundItsOutputAlone) {
  constexpr std::int64_t kCols = 64, kRows = 37, kStride = 45;
  const std::vector<std::uint8_t> raw = random_blocks(Format::Q4_1, kRows * kCols);
  const LinearWeight weight({{raw.data(), Format::Q4_1, kRows}}, kCols, pool_);
  for (std::int64_t num_tokens : {1, 2, 4, 5, 29}) {
    const std::vector<float> x = random_floats(num_tokens * kCols, 12);
    std::vector<float> y(static_cast<std::size_t>(num_tokens * kStride), 123.0f);
    linear({x.data(), num_tokens, kCols}, weight, nullptr, Matrix<float>(y.data(), num_tokens, kStride).columns(3, kRows), pool_);
    for (std::int64_t row = 0; row < num_tokens; ++row) {
      for (std::int64_t column = 0; column < kStride; ++column) {
        const bool inside = column >= 3 && column < 3 + kRows;
        EXPECT_EQ(y[static_cast<std::size_t>(row * kStride + column)] != 123.0f, inside) << row << ", " << column;
      }
    }
  }
}

TEST_P(LinearTest, ReadsStridedRows) {
  constexpr std::int64_t kCols = 33, kRows = 20, kStride = 50, kTokens = 7;
  const std::vector<std::uint8_t> raw = random_blocks(Format::BF16, kRows * kCols);
  const LinearWeight weight({{raw.data(), Format::BF16, kRows}}, kCols, pool_);
  const std::vector<float> wide = random_floats(kTokens * kStride, 12);
  const Matrix<const float> strided = Matrix<const float>(wide.data(), kTokens, kStride).columns(5, kCols);
  std::vector<float> dense;
  for (std::int64_t row = 0; row < kTokens; ++row) dense.insert(dense.end(), strided.row(row), strided.row(row) + kCols);
  std::vector<float> expected(kTokens * kRows), y(kTokens * kRows);
  linear({dense.data(), kTokens, kCols}, weight, nullptr, {expected.data(), kTokens, kRows}, pool_);
  linear(strided, weight, nullptr, {y.data(), kTokens, kRows}, pool_);
  EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0);
}

// The definition in linear.h, followed literally.
TEST_P(LinearTest, FollowsTheDocumentedOrder) {
  constexpr std::int64_t kCols = 1280, kRows = 35, kTokens = 29;
  const std::vector<float> x = random_floats(kTokens * kCols, 12), bias = random_floats(kRows, 12);
  for (Format format : all_formats()) {
    const std::vector<std::uint8_t> raw = random_blocks(format, kRows * kCols);
    const LinearWeight weight({{raw.data(), format, kRows}}, kCols, pool_);
    std::vector<float> w(kRows * kCols), y(kTokens * kRows);
    dequantize(raw.data(), format, kRows * kCols, w.data());
    linear({x.data(), 9, kCols}, weight, bias.data(), {y.data(), 9, kRows}, pool_);  // decoded in registers, then by tiles
    linear({x.data() + 9 * kCols, kTokens - 9, kCols}, weight, bias.data(), {y.data() + 9 * kRows, kTokens - 9, kRows}, pool_);
    for (std::int64_t i = 0; i < kTokens * kRows; ++i) {
      const float *x_row = x.data() + i / kRows * kCols, *w_row = w.data() + i % kRows * kCols;
      float sum = 0;
      for (std::int64_t k = 0; k < kCols; ++k) {
        sum = GetParam() == cpu::Isa::portable ? x_row[k] * w_row[k] + sum : std::fma(x_row[k], w_row[k], sum);
      }
      ASSERT_EQ(y[static_cast<std::size_t>(i)], sum + bias[static_cast<std::size_t>(i % kRows)]) << name_of(format) << " " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, LinearTest, ::testing::ValuesIn(cpu::available_isas()),
                         [](const auto& info) { return std::string(cpu::name_of(info.param)); });

TEST(HalfTest, EveryHalfSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    EXPECT_EQ(half_from_exact(float_from_half(static_cast<std::uint16_t>(bits))), bits);
  }
}

TEST(EmbeddingTest, RefusesIdsOutsideTheTable) {
  cpu::ThreadPool pool(1);
  const std::vector<std::uint8_t> raw = random_blocks(Format::F16, 4 * 8);
  const EmbeddingWeight table{raw.data(), Format::F16, 4, 8};
  std::vector<float> y(16);
  const std::int32_t ids[] = {3, 4};
  EXPECT_THROW(embedding({ids, 2}, table, 1.0f, {y.data(), 2, 8}, pool), std::invalid_argument);
  EXPECT_THROW(embedding({ids, 1}, table, 1.0f, {y.data(), 2, 8}, pool), std::invalid_argument);
}

}  // namespace
}  // namespace octavo

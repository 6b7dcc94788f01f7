#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include "ops/embedding/embedding.h"
#include "ops/linear/linear_kernels.h"
#include "ops/linear/lm_head.h"
#include "tests/kernel_test.h"
#include "weights/dequantize.h"
#include "weights/half.h"
#include "weights/pack_panel.h"
#include "weights/quantized_group.h"

namespace octavo {
namespace {

// Random bytes in which no half float is infinite or NaN.
std::vector<std::uint8_t> random_blocks(Format format, std::int64_t num_elements) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(format_bytes(format, num_elements)));
  std::mt19937 generator(11);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(generator() & 0xbb);
  const std::string name = name_of(format);
  for (std::int64_t block = 0; name[0] == 'U' && block < num_elements / block_elements(format); ++block) {
    std::uint8_t* at = bytes.data() + block * block_bytes(format);
    for (int low_byte : {0, 1, 4, 5}) at[low_byte] = 0;  // of scale and min: a code times a scale must be exact
    for (std::int64_t i = 8; name[1] == '4' && i < block_bytes(format); ++i) at[i] &= 15;
  }
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

float fused(float a, float b, float c) { return cpu::active_isa() == cpu::Isa::portable ? a * b + c : std::fma(a, b, c); }

// The definition of exact arithmetic in linear.h, followed literally, against `raw` packed for the active instruction set.
void expect_documented_order(const std::vector<std::uint8_t>& raw, Format format, std::int64_t cols, cpu::ThreadPool& pool) {
  constexpr std::int64_t kRows = 35, kTokens = 200;
  const std::vector<float> x = random_floats(kTokens * cols, 12), bias = random_floats(kRows, 12);
  const LinearWeight weight({{raw.data(), format, kRows}}, cols, pool);
  std::vector<float> w(static_cast<std::size_t>(kRows * cols)), y(kTokens * kRows);
  dequantize(raw.data(), format, kRows * cols, w.data());
  for (std::int64_t first = 0, count = 1; first < kTokens; first += count, ++count) {  // 1, 2, .. 13 rows, then the rest
    count = count > 13 ? kTokens - first : count;
    linear({x.data() + first * cols, count, cols}, weight, bias.data(), {y.data() + first * kRows, count, kRows}, pool);
  }
  for (std::int64_t i = 0; i < kTokens * kRows; ++i) {
    const float *x_row = x.data() + i / kRows * cols, *w_row = w.data() + i % kRows * cols;
    float sum = 0;
    for (std::int64_t k = 0; k < cols; ++k) sum = fused(x_row[k], w_row[k], sum);
    ASSERT_EQ(y[static_cast<std::size_t>(i)], sum + bias[static_cast<std::size_t>(i % kRows)]) << name_of(format) << " " << i;
  }
}

TEST_P(LinearTest, FollowsTheDocumentedOrder) {
  for (Format format : all_formats()) expect_documented_order(random_blocks(format, 35 * 1280), format, 1280, pool_);
}

// Normal weights, as a trained matrix has them; every `step`-th is of another magnitude.
std::vector<std::uint8_t> bf16_weights(std::int64_t count, std::int64_t step) {
  std::vector<float> values = random_floats(count, 7);
  for (std::int64_t i = step / 2, power = -90; i < count; i += step, power = power > 90 ? -90 : power + 7) {
    values[static_cast<std::size_t>(i)] = std::ldexp(values[static_cast<std::size_t>(i)], static_cast<int>(power));
  }
  std::vector<std::uint8_t> raw;
  for (float value : values) {
    std::uint8_t bytes[4];
    std::memcpy(bytes, &value, sizeof bytes);
    raw.insert(raw.end(), bytes + 2, bytes + 4);
  }
  return raw;
}

TEST_P(LinearTest, CompactBf16IsExact) {
  const bool has_kernel = linear_kernels(GetParam()).compute[static_cast<int>(Packing::bf16_compact)] != nullptr;
  for (std::int64_t cols : {1280, 77}) {
    for (const auto& [step, is_compact] : {std::pair(10'000'000, true), std::pair(701, true), std::pair(300, true), std::pair(20, false)}) {
      const std::vector<std::uint8_t> raw = bf16_weights(35 * cols, step);
      const LinearWeight weight({{raw.data(), Format::BF16, 35}}, cols, pool_);
      const LinearWeight::PackedPart& part = weight.packed_parts().front();
      EXPECT_EQ(part.packing, has_kernel && is_compact ? Packing::bf16_compact : Packing::bf16) << step;
      if (part.compact && step < 35 * cols) {
        EXPECT_FALSE(part.compact->exceptions.empty()) << step;
      }
      expect_documented_order(raw, Format::BF16, cols, pool_);
    }
  }
}

// 32 activations as quantized_rows.h defines them; returns the scale.
float quantize(const float* x, int* codes) {
  float largest = 0;
  for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<int>(std::nearbyint(x[i] * (127.0f / largest)));
  return largest * (1.0f / 127.0f);
}

// One output of int8 arithmetic as linear.h defines it: `row` are the raw blocks of its weights.
float int8_product(const float* x, const std::uint8_t* row, Format format, std::int64_t cols) {
  const GroupReader& reader = group_reader(format);
  const bool has_min = block_shape(packing_of(format)).num_scales == 2;
  QuantizedGroup groups[kMaxGroupsPerBlock];
  float sum = 0;
  for (std::int64_t k = 0; k < cols; k += 32) {
    int codes[32];
    const float scale = quantize(x + k, codes);
    reader.read(row + k / block_elements(format) * block_bytes(format), groups);
    for (int run = 0; run < 32 / reader.group_size; ++run) {
      const QuantizedGroup& group = groups[(k % block_elements(format)) / reader.group_size + run];
      int dot = 0, total = 0;
      for (int i = 0; i < reader.group_size; ++i) {
        dot += (group.codes[i] - reader.zero_point) * codes[run * reader.group_size + i];
        total += codes[run * reader.group_size + i];
      }
      sum = fused(static_cast<float>(dot), group.scale * scale, sum);
      if (has_min) sum = fused(group.min, scale * static_cast<float>(total), sum);
    }
  }
  return sum;
}

TEST_P(LinearTest, Int8FollowsTheDocumentedOrder) {
  constexpr std::int64_t kCols = 1280, kRows = 35, kTokens = 160;
  const std::vector<float> x = random_floats(kTokens * kCols, 12), bias = random_floats(kRows, 12);
  for (Format format : all_formats()) {
    if (!is_quantized(format)) continue;
    const std::vector<std::uint8_t> raw = random_blocks(format, kRows * kCols);
    const LinearWeight weight({{raw.data(), format, kRows}}, kCols, pool_, Arithmetic::int8);
    std::vector<float> y(kTokens * kRows);
    for (std::int64_t first = 0, count = 1; first < kTokens; first += count, ++count) {  // 1, 2, .. 13 rows, then the rest
      count = count > 13 ? kTokens - first : count;
      linear({x.data() + first * kCols, count, kCols}, weight, bias.data(), {y.data() + first * kRows, count, kRows}, pool_);
    }
    for (std::int64_t i = 0; i < kTokens * kRows; ++i) {
      const std::uint8_t* row = raw.data() + format_bytes(format, i % kRows * kCols);
      const float expected = int8_product(x.data() + i / kRows * kCols, row, format, kCols) + bias[static_cast<std::size_t>(i % kRows)];
      ASSERT_EQ(y[static_cast<std::size_t>(i)], expected) << name_of(format) << " " << i;
    }
    std::vector<float> together(y.size());
    for (std::int64_t count : {kTokens, std::int64_t{50}, std::int64_t{48}}) {  // many rows are computed another way
      linear({x.data(), count, kCols}, weight, bias.data(), {together.data(), count, kRows}, pool_);
      ASSERT_TRUE(std::equal(y.begin(), y.begin() + count * kRows, together.begin())) << name_of(format) << " " << count;
    }
  }
}

TEST_P(LinearTest, Int8LosesNeitherNanNorInfinityAndTakesZeros) {
  constexpr std::int64_t kCols = 64, kRows = 3;
  const std::vector<std::uint8_t> raw = random_blocks(Format::Q8_0, kRows * kCols);
  const LinearWeight weight({{raw.data(), Format::Q8_0, kRows}}, kCols, pool_, Arithmetic::int8);
  for (float value : {0.0f, 1e-38f, INFINITY, -INFINITY, NAN}) {
    std::vector<float> x(kCols), y(kRows);
    x[37] = value;
    linear({x.data(), 1, kCols}, weight, nullptr, {y.data(), 1, kRows}, pool_);
    for (float result : y) EXPECT_EQ(result == 0.0f, std::fabs(value) < 1.0f) << value << " " << result;
    for (float result : y) EXPECT_EQ(std::isfinite(result), std::isfinite(value)) << value << " " << result;
  }
}

// Parts of codes and of floats stand side by side; each is computed its own way.
TEST_P(LinearTest, Int8LeavesFloatsExact) {
  constexpr std::int64_t kCols = 256, kRows = 40;
  const std::vector<std::uint8_t> codes = random_blocks(Format::Q6_K, kRows * kCols), floats = random_blocks(Format::F16, kRows * kCols);
  const LinearWeight mixed({{codes.data(), Format::Q6_K, kRows}, {floats.data(), Format::F16, kRows}}, kCols, pool_, Arithmetic::int8);
  const LinearWeight only_codes({{codes.data(), Format::Q6_K, kRows}}, kCols, pool_, Arithmetic::int8);
  const LinearWeight only_floats({{floats.data(), Format::F16, kRows}}, kCols, pool_);
  const std::vector<float> x = random_floats(9 * kCols, 3);
  std::vector<float> y(9 * 2 * kRows), expected(y.size());
  linear({x.data(), 9, kCols}, mixed, nullptr, {y.data(), 9, 2 * kRows}, pool_);
  const Matrix<float> whole(expected.data(), 9, 2 * kRows);
  linear({x.data(), 9, kCols}, only_codes, nullptr, whole.columns(0, kRows), pool_);
  linear({x.data(), 9, kCols}, only_floats, nullptr, whole.columns(kRows, kRows), pool_);
  EXPECT_EQ(y, expected);
}

// The documented result of lm_head for a row: `exact` in the panels where `rounded` is largest, `rounded` elsewhere.
std::vector<float> with_exact_panels(const float* rounded, const float* exact, std::int64_t count, std::int64_t panel_width) {
  std::vector<std::pair<float, std::int64_t>> panels;  // minus the largest, first token: sorting puts the largest first, ties in order
  for (std::int64_t first = 0; first < count; first += panel_width) {
    panels.emplace_back(-*std::max_element(rounded + first, rounded + std::min(count, first + panel_width)), first);
  }
  std::sort(panels.begin(), panels.end());
  if (panels.size() > kExactPanels) panels.resize(kExactPanels);
  std::vector<float> result(rounded, rounded + count);
  for (const auto& [largest, first] : panels)
    std::copy(exact + first, exact + std::min(count, first + panel_width), result.begin() + first);
  return result;
}

TEST_P(LinearTest, LmHeadIsExactWhereLogitsAreLargest) {
  constexpr std::int64_t kCols = 256, kTokens = 9;
  const std::vector<float> x = random_floats(kTokens * kCols, 5);
  for (std::int64_t vocab : {7, 90, 1003}) {
    for (Format format : {Format::Q8_0, Format::Q4_1, Format::Q6_K}) {
      const std::vector<std::uint8_t> raw = random_blocks(format, vocab * kCols);
      const LinearWeight int8({{raw.data(), format, vocab}}, kCols, pool_, Arithmetic::int8),
          exact({{raw.data(), format, vocab}}, kCols, pool_);
      std::vector<float> rounded(kTokens * vocab), precise(rounded.size()), y(rounded.size());
      linear({x.data(), kTokens, kCols}, int8, nullptr, {rounded.data(), kTokens, vocab}, pool_);
      linear({x.data(), kTokens, kCols}, exact, nullptr, {precise.data(), kTokens, vocab}, pool_);
      lm_head({x.data(), kTokens, kCols}, int8, nullptr, {y.data(), kTokens, vocab}, pool_);
      for (std::int64_t token = 0; token < kTokens; ++token) {
        const float* row = y.data() + token * vocab;
        const std::vector<float> expected = with_exact_panels(rounded.data() + token * vocab, precise.data() + token * vocab, vocab,
                                                              linear_kernels(int8.isa()).panel_width);
        ASSERT_EQ(std::vector<float>(row, row + vocab), expected) << name_of(format) << " " << vocab << " " << token;
      }
      std::vector<float> alone(static_cast<std::size_t>(vocab));
      lm_head({x.data() + 4 * kCols, 1, kCols}, int8, nullptr, {alone.data(), 1, vocab}, pool_);
      EXPECT_TRUE(std::equal(alone.begin(), alone.end(), y.begin() + 4 * vocab));
      lm_head({x.data(), kTokens, kCols}, exact, nullptr, {y.data(), kTokens, vocab}, pool_);
      EXPECT_EQ(y, precise);
    }
  }
}

TEST_P(LinearTest, FetchingAheadChangesNoBit) {
  constexpr std::int64_t kRows = 70, kCols = 1280, kTokens = 61, kChunk = 3000;
  const std::vector<float> x = random_floats(kTokens * kCols, 12), memory = random_floats(20 * kChunk / 4, 3);
  const std::vector<std::int32_t> indices = {19, 3, 7, 0, 8, 8, 12};
  const cpu::ReadAhead ahead{reinterpret_cast<const std::uint8_t*>(memory.data()), kChunk, indices.data(), kChunk, 1000, 7 * kChunk};
  for (const auto& [format, arithmetic] :
       {std::pair(Format::BF16, Arithmetic::exact), std::pair(Format::Q4_1, Arithmetic::int8), std::pair(Format::Q8_0, Arithmetic::int8)}) {
    const std::vector<std::uint8_t> raw = random_blocks(format, kRows * kCols);
    const LinearWeight weight({{raw.data(), format, kRows}}, kCols, pool_, arithmetic);
    for (std::int64_t count : {1, 5, 20, 61}) {
      std::vector<float> expected(static_cast<std::size_t>(count * kRows)), y(expected.size());
      linear({x.data(), count, kCols}, weight, nullptr, {expected.data(), count, kRows}, pool_);
      linear({x.data(), count, kCols}, weight, nullptr, {y.data(), count, kRows}, pool_, ahead);
      EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0) << name_of(format) << " " << count;
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

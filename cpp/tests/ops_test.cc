#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "cpu/isa.h"
#include "ops/activation/activation.h"
#include "ops/gather/gather.h"
#include "ops/norm/norm.h"
#include "ops/rotary/rotary.h"
#include "tests/kernel_test.h"

namespace octavo {
namespace {

// Vectors hold exactly the elements an op may touch, so that AddressSanitizer sees an access past the end.
class OpsTest : public KernelTest {
 protected:
  cpu::ThreadPool pool_{2};
};

TEST_P(OpsTest, AddRmsNormIsAddThenNormWhereverTheSumGoes) {
  for (std::int64_t cols : {5, 64, 577}) {
    const std::vector<float> x = random_floats(3 * cols, 1), residual = random_floats(3 * cols, 2), weight = random_floats(cols, 3);
    std::vector<float> sum(x.size()), expected(x.size()), y(x.size()), in_place = residual, also_in_place = x;
    add({x.data(), 3, cols}, {residual.data(), 3, cols}, {sum.data(), 3, cols}, pool_);
    for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(sum[i], x[i] + residual[i]);
    rms_norm({sum.data(), 3, cols}, {weight.data(), cols}, 1e-6f, {expected.data(), 3, cols}, pool_);
    add_rms_norm({x.data(), 3, cols}, {in_place.data(), 3, cols}, {weight.data(), cols}, 1e-6f, {y.data(), 3, cols},
                 {in_place.data(), 3, cols}, pool_);
    EXPECT_EQ(in_place, sum);
    EXPECT_EQ(y, expected);
    add_rms_norm({also_in_place.data(), 3, cols}, {residual.data(), 3, cols}, {weight.data(), cols}, 1e-6f, {y.data(), 3, cols},
                 {also_in_place.data(), 3, cols}, pool_);
    EXPECT_EQ(also_in_place, sum);
    EXPECT_EQ(y, expected);
  }
}

TEST_P(OpsTest, GatesWorkInPlaceOnWideRows) {
  constexpr std::int64_t kCols = 9001;  // more than one piece per row
  const std::vector<float> x = random_floats(2 * 2 * kCols, 4);
  for (const auto gate : {silu_and_mul, gelu_tanh_and_mul}) {
    std::vector<float> expected(2 * kCols), in_place = x;
    gate({x.data(), 2, 2 * kCols}, {expected.data(), 2, kCols}, pool_);
    const Matrix<float> wide(in_place.data(), 2, 2 * kCols);
    gate(wide, wide.columns(0, kCols), pool_);
    for (int row = 0; row < 2; ++row) EXPECT_EQ(std::memcmp(wide.row(row), expected.data() + row * kCols, kCols * 4), 0);
    EXPECT_EQ(in_place[kCols], x[kCols]);
  }
}

TEST_P(OpsTest, GatesFollowTheirFormulas) {
  std::vector<float> x(2 * 1001, 1.0f), silu(1001), gelu(1001);
  for (int i = 0; i <= 1000; ++i) x[i] = static_cast<float>(i - 500) * 0.02f;
  silu_and_mul({x.data(), 1, 2002}, {silu.data(), 1, 1001}, pool_);
  gelu_tanh_and_mul({x.data(), 1, 2002}, {gelu.data(), 1, 1001}, pool_);
  for (int i = 0; i <= 1000; ++i) {
    const double z = x[i], cubic = z + 0.044715 * z * z * z;
    EXPECT_NEAR(silu[i], z / (1 + std::exp(-z)), 1e-6 * std::abs(z)) << z;
    EXPECT_NEAR(gelu[i], z / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * cubic)), 1e-6 * std::abs(z)) << z;
  }
}

TEST_P(OpsTest, NormFollowsItsFormula) {
  constexpr int kCols = 77;
  const std::vector<float> x = random_floats(kCols, 7), weight = random_floats(kCols, 8);
  std::vector<float> y(kCols);
  rms_norm({x.data(), 1, kCols}, {weight.data(), kCols}, 1e-5f, {y.data(), 1, kCols}, pool_);
  double squares = 0;
  for (float value : x) squares += static_cast<double>(value) * value;
  for (int i = 0; i < kCols; ++i) EXPECT_NEAR(y[i], x[i] * weight[i] / std::sqrt(squares / kCols + 1e-5), 2e-6) << i;
}

TEST_P(OpsTest, RotaryFollowsItsFormulaInPlace) {
  constexpr int kHeadDim = 36, kRotaryDim = 20;
  const std::vector<float> x = random_floats(4 * 2 * kHeadDim, 5), cos_sin = random_floats(6 * kRotaryDim, 6);
  const std::int32_t positions[] = {5, 0, 3, 3};
  std::vector<float> y(x.size()), in_place = x;
  rotary_embedding({x.data(), 4, 2 * kHeadDim}, {positions, 4}, {cos_sin.data(), 6, kRotaryDim}, kHeadDim, {y.data(), 4, 2 * kHeadDim},
                   pool_);
  rotary_embedding({in_place.data(), 4, 2 * kHeadDim}, {positions, 4}, {cos_sin.data(), 6, kRotaryDim}, kHeadDim,
                   {in_place.data(), 4, 2 * kHeadDim}, pool_);
  EXPECT_EQ(in_place, y);
  for (int i = 0; i < kRotaryDim / 2; ++i) {  // the first token, at position 5
    const double cos = cos_sin[5 * kRotaryDim + i], sin = cos_sin[5 * kRotaryDim + kRotaryDim / 2 + i];
    EXPECT_NEAR(y[i], x[i] * cos - x[i + kRotaryDim / 2] * sin, 1e-6);
    EXPECT_NEAR(y[i + kRotaryDim / 2], x[i + kRotaryDim / 2] * cos + x[i] * sin, 1e-6);
  }
  EXPECT_EQ(y[kRotaryDim], x[kRotaryDim]);
}

TEST_P(OpsTest, SoftcapFollowsTanhToItsCap) {
  const std::vector<float> inputs = random_floats(99, 9);
  std::vector<float> outputs(99);
  softcap({inputs.data(), 1, 99}, 0.5f, {outputs.data(), 1, 99}, pool_);
  for (int i = 0; i < 99; ++i) EXPECT_NEAR(outputs[i], 0.5 * std::tanh(inputs[i] / 0.5), 2e-7);
  std::vector<float> x = {1e9f, -1e9f, 0.0f};
  softcap({x.data(), 1, 3}, 15.0f, {x.data(), 1, 3}, pool_);
  EXPECT_EQ(x, (std::vector<float>{15.0f, -15.0f, 0.0f}));
}

INSTANTIATE_TEST_SUITE_P(Isas, OpsTest, ::testing::ValuesIn(cpu::available_isas()),
                         [](const auto& isa) { return cpu::name_of(isa.param); });

TEST(SelectRowsTest, CopiesRowsAndRefusesOthers) {
  cpu::ThreadPool pool(2);
  const std::vector<float> x = {0, 1, 2, 3, 4, 5};
  std::vector<float> y(8);
  const std::int32_t indices[] = {2, 0, 2, 1}, outside[] = {0, 0, 3, 0};
  select_rows({x.data(), 3, 2}, {indices, 4}, {y.data(), 4, 2}, pool);
  EXPECT_EQ(y, (std::vector<float>{4, 5, 0, 1, 4, 5, 2, 3}));
  EXPECT_THROW(select_rows({x.data(), 3, 2}, {outside, 4}, {y.data(), 4, 2}, pool), std::invalid_argument);
}

}  // namespace
}  // namespace octavo

// Every kernel against its formula in double precision, on the device. Skipped where there is none.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <numeric>

#include "cuda/attention.h"
#include "cuda/blas.h"
#include "gpu/device_tensor.h"
#include "ops/activation/activation_cuda.h"
#include "ops/embedding/embedding_cuda.h"
#include "ops/gather/gather_cuda.h"
#include "ops/linear/gemv_cuda.h"
#include "ops/linear/tiled_cuda.h"
#include "ops/norm/norm_cuda.h"
#include "ops/rotary/rotary_cuda.h"

namespace octavo::cuda {
namespace {

using Values = std::vector<double>;

struct AttentionCase {
  int heads, kv_heads, head_dim, window;
  float softcap;
  std::vector<int> queries, contexts;
  int chunk = 0;
  std::vector<float> slopes = {}, sinks = {};  // of the heads
};

Values attended(const AttentionCase& c, const DeviceTensor& q, const DeviceTensor& pages, const std::vector<std::int32_t>& tables,
                int max_blocks, double scale) {
  Values y;
  std::int64_t token = 0;
  for (std::size_t row = 0; row < c.queries.size(); ++row) {
    for (int i = 0; i < c.queries[row]; ++i, ++token) {
      const int position = c.contexts[row] - c.queries[row] + i, of_window = c.window > 0 ? std::max(0, position + 1 - c.window) : 0,
                begin = c.chunk > 0 ? std::max(of_window, position / c.chunk * c.chunk) : of_window;
      for (int head = 0; head < c.heads; ++head) {
        const int first = head / (c.heads / c.kv_heads) * c.head_dim;
        Values weights, out(static_cast<std::size_t>(c.head_dim), 0.0);
        const auto page_row = [&](int p) {
          return std::int64_t{tables[row * max_blocks + p / kPageTokens]} * 2 * kPageTokens + p % kPageTokens;
        };
        double top = -INFINITY, sum = 0.0;
        for (int p = begin; p <= position; ++p) {
          double dot = 0.0;
          for (int d = 0; d < c.head_dim; ++d) dot += double{q.at(token, head * c.head_dim + d)} * pages.at(page_row(p), first + d);
          dot *= scale;
          if (c.softcap > 0.0f) dot = c.softcap * std::tanh(dot / c.softcap);
          if (!c.slopes.empty()) dot += double{c.slopes[static_cast<std::size_t>(head)]} * (p - position);
          weights.push_back(dot);
          top = std::max(top, dot);
        }
        for (double& weight : weights) sum += weight = std::exp(weight - top);
        if (!c.sinks.empty()) sum += std::exp(c.sinks[static_cast<std::size_t>(head)] - top);
        for (int p = begin; p <= position; ++p) {
          for (int d = 0; d < c.head_dim; ++d)
            out[static_cast<std::size_t>(d)] +=
                weights[static_cast<std::size_t>(p - begin)] / sum * pages.at(page_row(p) + kPageTokens, first + d);
        }
        y.insert(y.end(), out.begin(), out.end());
      }
    }
  }
  return y;
}

class CudaOps : public testing::TestWithParam<DType> {
 protected:
  void SetUp() override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) GTEST_SKIP() << "no GPU";
  }
  DType type() const { return GetParam(); }
  void expect_near(const DeviceTensor& found, const Values& expected, double factor = 1.0) {
    EXPECT_LE(relative_error(found.get(), expected), factor * tolerance(type()));
  }
  void check_attention(const AttentionCase& c, DType kv, double factor) {
    const int tokens = std::accumulate(c.queries.begin(), c.queries.end(), 0), rows = static_cast<int>(c.queries.size()), max_blocks = 48;
    const auto q = DeviceTensor::random(tokens, c.heads * c.head_dim, type(), 1),
               pages = DeviceTensor::random(64 * 2 * kPageTokens, c.kv_heads * c.head_dim, kv, 2);
    std::vector<std::int32_t> tables(static_cast<std::size_t>(rows * max_blocks)), indptr{0}, positions, token_rows;
    for (std::size_t i = 0; i < tables.size(); ++i) tables[i] = static_cast<std::int32_t>(i * 37 % 64);
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < c.queries[row]; ++i) {
        positions.push_back(c.contexts[row] - c.queries[row] + i);
        token_rows.push_back(row);
      }
      indptr.push_back(static_cast<std::int32_t>(positions.size()));
    }
    const DeviceInts d_tables(tables), d_indptr(indptr), d_contexts(c.contexts), d_positions(positions), d_rows(token_rows);
    const AttentionShape shape{type(),   kv,        c.heads, c.kv_heads,        c.head_dim,      0.2f,
                               c.window, c.softcap, c.chunk, !c.slopes.empty(), !c.sinks.empty()};
    DeviceTensor slopes(1, c.heads, DType::f32, 0.0f), sinks(1, c.heads, DType::f32, 0.0f);
    if (shape.alibi) slopes.set(c.slopes);
    if (shape.sinks) sinks.set(c.sinks);
    const AttentionLayer layer(pages.view().data, slopes.floats(), sinks.floats());
    AttentionStep step;
    step.host = {indptr.data(), c.contexts.data(), tables.data(), positions.data(), token_rows.data()};
    step.device = {d_indptr.data(), d_contexts.data(), d_tables.data(), d_positions.data(), d_rows.data()};
    step.num_rows = rows;
    step.num_tokens = tokens;
    step.max_blocks = max_blocks;
    step.max_query_len = *std::max_element(c.queries.begin(), c.queries.end());
    step.max_context_len = *std::max_element(c.contexts.begin(), c.contexts.end());
    const Values expected = attended(c, q, pages, tables, max_blocks, 0.2f);
    for (const bool captured : {false, true}) {
      step.captured = captured;
      DeviceTensor y(tokens, c.heads * c.head_dim, type());
      const auto attention = make_paged_attention(shape, {8, 64, max_blocks * kPageTokens});
      attention->plan(step, nullptr);
      attention->run(q.view(), layer, y.view(), nullptr);
      SCOPED_TRACE(concat("head_dim ", c.head_dim, " heads ", c.heads, " captured ", captured));
      expect_near(y, expected, factor);
    }
  }
};

Values norm(const DeviceTensor& x, const DeviceTensor* residual, const DeviceTensor& weight, std::int64_t rows, std::int64_t cols,
            std::int64_t group, double eps) {
  Values y(static_cast<std::size_t>(rows * cols));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t first = 0; first < cols; first += group) {
      double squares = 0.0;
      const auto value = [&](std::int64_t i) { return double{x.at(row, first + i)} + (residual ? residual->at(row, first + i) : 0.0); };
      for (std::int64_t i = 0; i < group; ++i) squares += value(i) * value(i);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(group) + eps);
      for (std::int64_t i = 0; i < group; ++i) y[static_cast<std::size_t>(row * cols + first + i)] = value(i) * scale * weight.at(0, i);
    }
  }
  return y;
}

TEST_P(CudaOps, RmsNorm) {
  for (const auto& [rows, cols, group] :
       std::vector<std::array<std::int64_t, 3>>{{3, 4096, 4096}, {7, 576, 576}, {5, 512, 64}, {2, 21, 7}, {1, 16384, 16384}}) {
    const auto x = DeviceTensor::random(rows, cols, type(), 1), weight = DeviceTensor::random(1, group, DType::f32, 2);
    DeviceTensor y(rows, cols, type());
    rms_norm(x.view(), weight.floats(), group, 1e-5f, y.view(), nullptr);
    expect_near(y, norm(x, nullptr, weight, rows, cols, group, 1e-5));
  }
}

TEST_P(CudaOps, AddRmsNorm) {
  for (const std::int64_t cols : {4096, 576, 30, 12288}) {
    const auto x = DeviceTensor::random(5, cols, type(), 1), residual = DeviceTensor::random(5, cols, type(), 2),
               weight = DeviceTensor::random(1, cols, DType::f32, 3);
    DeviceTensor y(5, cols, type()), sum(5, cols, type());
    add_rms_norm(x.view(), residual.view(), weight.floats(), 1e-6f, y.view(), sum.view(), nullptr);
    expect_near(y, norm(x, &residual, weight, 5, cols, cols, 1e-6));
    Values sums;
    for (std::size_t i = 0; i < x.values().size(); ++i) sums.push_back(double{x.values()[i]} + residual.values()[i]);
    expect_near(sum, sums);
  }
}

TEST_P(CudaOps, GatesAndElementwise) {
  const double pi = 3.14159265358979323846;
  for (const std::int64_t half_cols : {512, 33}) {
    const auto x = DeviceTensor::random(9, 2 * half_cols, type(), 1, 2.0f);
    for (const Gate gate : {Gate::silu, Gate::gelu_tanh, Gate::gelu_erf}) {
      DeviceTensor y(9, half_cols, type());
      gate_and_mul(gate, x.view(), y.view(), nullptr);
      Values expected;
      for (std::int64_t row = 0; row < 9; ++row) {
        for (std::int64_t col = 0; col < half_cols; ++col) {
          const double g = x.at(row, col);
          const double act = gate == Gate::silu        ? g / (1.0 + std::exp(-g))
                             : gate == Gate::gelu_tanh ? 0.5 * g * (1.0 + std::tanh(std::sqrt(2.0 / pi) * (g + 0.044715 * g * g * g)))
                                                       : 0.5 * g * (1.0 + std::erf(g / std::sqrt(2.0)));
          expected.push_back(act * x.at(row, half_cols + col));
        }
      }
      expect_near(y, expected);
    }
    const auto a = DeviceTensor::random(9, half_cols, type(), 2), b = DeviceTensor::random(9, half_cols, type(), 3),
               gate = DeviceTensor::random(9, 1, type(), 4);
    DeviceTensor sum(9, half_cols, type()), gated(9, half_cols, type()), capped(9, half_cols, type());
    add(a.view(), b.view(), sum.view(), nullptr);
    sigmoid_gate(a.view(), gate.view(), gated.view(), nullptr);
    softcap(a.view(), 1.5f, capped.view(), nullptr);
    Values sums, gates, caps;
    for (std::int64_t row = 0; row < 9; ++row) {
      for (std::int64_t col = 0; col < half_cols; ++col) {
        sums.push_back(double{a.at(row, col)} + b.at(row, col));
        gates.push_back(a.at(row, col) / (1.0 + std::exp(-double{gate.at(row, 0)})));
        caps.push_back(1.5 * std::tanh(a.at(row, col) / 1.5));
      }
    }
    expect_near(sum, sums);
    expect_near(gated, gates);
    expect_near(capped, caps);
  }
}

TEST_P(CudaOps, Activations) {
  const double pi = 3.14159265358979323846;
  const std::vector<std::pair<Activation, std::function<double(double)>>> known{
      {Activation::gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
      {Activation::gelu_tanh, [=](double x) { return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / pi) * (x + 0.044715 * x * x * x))); }},
      {Activation::quick_gelu, [](double x) { return x / (1.0 + std::exp(-1.702 * x)); }},
      {Activation::sigmoid, [](double x) { return 1.0 / (1.0 + std::exp(-x)); }},
      {Activation::silu, [](double x) { return x / (1.0 + std::exp(-x)); }},
      {Activation::relu, [](double x) { return std::max(x, 0.0); }},
      {Activation::relu_squared, [](double x) { return std::max(x, 0.0) * std::max(x, 0.0); }},
      {Activation::tanh, [](double x) { return std::tanh(x); }}};
  for (const std::int64_t cols : {512, 33}) {
    const auto x = DeviceTensor::random(5, cols, type(), 1, 2.0f);
    for (const auto& [activation, formula] : known) {
      DeviceTensor y(5, cols, type());
      activate(activation, x.view(), y.view(), nullptr);
      Values expected;
      for (float value : x.values()) expected.push_back(formula(value));
      expect_near(y, expected);
    }
    DeviceTensor y(5, cols, type());
    scale(x.view(), 0.3f, y.view(), nullptr);
    Values expected;
    for (float value : x.values()) expected.push_back(double{0.3f} * value);
    expect_near(y, expected);
  }
}

TEST_P(CudaOps, LayerNorm) {
  for (const auto& [rows, cols, group] :
       std::vector<std::array<std::int64_t, 3>>{{3, 4096, 4096}, {7, 576, 576}, {5, 512, 64}, {2, 21, 7}}) {
    for (const bool biased : {false, true}) {
      const auto x = DeviceTensor::random(rows, cols, type(), 1), weight = DeviceTensor::random(1, group, DType::f32, 2),
                 bias = DeviceTensor::random(1, group, DType::f32, 3);
      DeviceTensor shifted(rows, cols, type()), y(rows, cols, type());
      std::vector<float> values = x.values();
      for (float& value : values) value = rounded(value + 3.0f, type());
      shifted.set(values);
      layer_norm(shifted.view(), weight.floats(), biased ? bias.floats() : nullptr, group, 1e-5f, y.view(), nullptr);
      Values expected(static_cast<std::size_t>(rows * cols));
      for (std::int64_t first = 0; first < rows * cols; first += group) {
        double mean = 0.0, squares = 0.0;
        for (std::int64_t i = 0; i < group; ++i) mean += values[static_cast<std::size_t>(first + i)];
        mean /= static_cast<double>(group);
        for (std::int64_t i = 0; i < group; ++i) squares += std::pow(values[static_cast<std::size_t>(first + i)] - mean, 2.0);
        const double scale = 1.0 / std::sqrt(squares / static_cast<double>(group) + 1e-5);
        for (std::int64_t i = 0; i < group; ++i) {
          const auto at = static_cast<std::size_t>(first + i);
          expected[at] = (values[at] - mean) * scale * weight.at(0, i) + (biased ? bias.at(0, i) : 0.0);
        }
      }
      expect_near(y, expected);
    }
  }
}

TEST_P(CudaOps, EmbeddingAndGather) {
  for (const std::int64_t cols : {256, 19}) {
    const auto table = DeviceTensor::random(50, cols, type(), 1);
    const DeviceInts ids({3, ~1, 49, 0}), last({-1, 17});
    DeviceTensor y(4, cols, type()), picked(2, cols, type());
    embedding(ids.data(), last.data(), table.view(), 2.0f, y.view(), nullptr);
    const DeviceInts indices({49, 5});
    select_rows(table.view(), indices.data(), picked.view(), nullptr);
    Values expected, rows;
    for (const int id : {3, 17, 49, 0}) {
      for (std::int64_t col = 0; col < cols; ++col) expected.push_back(2.0 * table.at(id, col));
    }
    for (const int id : {49, 5}) {
      for (std::int64_t col = 0; col < cols; ++col) rows.push_back(table.at(id, col));
    }
    expect_near(y, expected);
    expect_near(picked, rows);
  }
}

double rotated(const DeviceTensor& x, std::int64_t row, std::int64_t first, int i, const DeviceTensor& table, int position,
               int rotary_dim) {
  const int half = rotary_dim / 2;
  if (i >= rotary_dim) return x.at(row, first + i);
  const int angle = i % half;
  const double cos = table.at(position, angle), sin = table.at(position, half + angle);
  return i < half ? x.at(row, first + i) * cos - x.at(row, first + half + i) * sin
                  : x.at(row, first + i) * cos + x.at(row, first + i - half) * sin;
}

TEST_P(CudaOps, RotaryAndPages) {
  struct Case {
    int heads, kv_heads, head_dim, rotary_dim;
  };
  for (const Case c : {Case{4, 2, 64, 64}, Case{3, 1, 80, 32}, Case{2, 2, 24, 12}}) {
    const std::int64_t tokens = 5, cols = (c.heads + 2 * c.kv_heads) * c.head_dim, kv_cols = c.kv_heads * c.head_dim;
    const auto qkv = DeviceTensor::random(tokens, cols, type(), 1), table = DeviceTensor::random(40, c.rotary_dim, DType::f32, 2);
    const std::vector<std::int32_t> position_values{0, 7, 39, 3, 3}, slot_values{33, 2, -1, 0, 47};
    const DeviceInts positions(position_values), slots(slot_values);
    DeviceTensor y(tokens, c.heads * c.head_dim, type()), pages(3 * 2 * kPageTokens, kv_cols, type(), 0.0f),
        plain(3 * 2 * kPageTokens, kv_cols, type(), 0.0f);
    const DeviceMatrix q = qkv.columns(0, c.heads * c.head_dim), k = qkv.columns(c.heads * c.head_dim, kv_cols),
                       v = qkv.columns(c.heads * c.head_dim + kv_cols, kv_cols);
    rotary_store_kv(q, k, v, positions.data(), {table.floats(), c.rotary_dim}, y.view(),
                    {pages.view().data, slots.data(), c.kv_heads, c.head_dim, type()}, nullptr);
    store_kv(k, v, {plain.view().data, slots.data(), c.kv_heads, c.head_dim, type()}, nullptr);
    Values expected_y, expected_pages(static_cast<std::size_t>(3 * 2 * kPageTokens * kv_cols), 0.0), expected_plain = expected_pages;
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (int col = 0; col < c.heads * c.head_dim; ++col) {
        expected_y.push_back(rotated(qkv, t, col / c.head_dim * c.head_dim, col % c.head_dim, table, position_values[t], c.rotary_dim));
      }
      const int slot = slot_values[t];
      if (slot < 0) continue;
      for (int col = 0; col < kv_cols; ++col) {
        const std::int64_t k_row = slot / kPageTokens * 2 * kPageTokens + slot % kPageTokens, v_row = k_row + kPageTokens;
        const std::int64_t k_first = c.heads * c.head_dim + col / c.head_dim * c.head_dim;
        expected_pages[static_cast<std::size_t>(k_row * kv_cols + col)] =
            rotated(qkv, t, k_first, col % c.head_dim, table, position_values[t], c.rotary_dim);
        expected_plain[static_cast<std::size_t>(k_row * kv_cols + col)] = qkv.at(t, c.heads * c.head_dim + col);
        expected_pages[static_cast<std::size_t>(v_row * kv_cols + col)] = expected_plain[static_cast<std::size_t>(v_row * kv_cols + col)] =
            qkv.at(t, c.heads * c.head_dim + kv_cols + col);
      }
    }
    expect_near(y, expected_y);
    expect_near(pages, expected_pages);
    expect_near(plain, expected_plain);
    DeviceTensor alone(tokens, c.heads * c.head_dim, type());
    rotary_embedding(q, positions.data(), {table.floats(), c.rotary_dim}, c.head_dim, alone.view(), nullptr);
    expect_near(alone, expected_y);
    if (type() == DType::f32) continue;
    DeviceTensor eight(3 * 2 * kPageTokens, kv_cols, DType::f8, 0.0f);
    rotary_store_kv(q, k, v, positions.data(), {table.floats(), c.rotary_dim}, y.view(),
                    {eight.view().data, slots.data(), c.kv_heads, c.head_dim, DType::f8}, nullptr);
    expect_near(y, expected_y);
    EXPECT_LE(relative_error(eight.get(), expected_pages), kEightBits);
  }
}

TEST_P(CudaOps, PagedAttention) {
  for (const AttentionCase& c :
       {AttentionCase{8, 2, 128, 0, 0.0f, {1, 1, 1}, {1, 700, 33}}, AttentionCase{9, 3, 64, 0, 0.0f, {40, 1}, {50, 17}},
        AttentionCase{14, 2, 64, 0, 0.0f, {1}, {300}}, AttentionCase{4, 1, 256, 100, 50.0f, {3, 1}, {200, 90}},
        AttentionCase{4, 4, 80, 20, 0.0f, {17}, {80}}, AttentionCase{4, 2, 96, 0, 30.0f, {5}, {65}},
        AttentionCase{2, 2, 192, 0, 0.0f, {2}, {40}}, AttentionCase{16, 1, 512, 0, 0.0f, {2}, {70}},
        AttentionCase{2, 1, 16, 4, 0.0f, {6, 2}, {6, 9}}, AttentionCase{4, 2, 64, 0, 0.0f, {40, 1}, {70, 700}, 32},
        AttentionCase{4, 4, 64, 0, 0.0f, {3, 1}, {90, 700}, 0, {0.5f, 0.25f, 0.06f, 0.004f}},
        AttentionCase{4, 2, 64, 24, 0.0f, {9, 1}, {90, 700}, 0, {}, {0.3f, -2.0f, 4.0f, 30.0f}},
        AttentionCase{2, 1, 80, 0, 0.0f, {1}, {600}, 0, {0.01f, 0.002f}, {1.0f, -1.0f}}}) {
    check_attention(c, type(), 1.0);
  }
}

// The same values in E4M3 pages: three bits of a fraction, so that half a unit in the last place is 6 % of each, averaged over a context.
TEST_P(CudaOps, PagedAttentionOverEightBits) {
  if (type() == DType::f32) return;
  for (const AttentionCase& c : {AttentionCase{8, 2, 128, 0, 0.0f, {1, 1, 1}, {1, 700, 33}},
                                 AttentionCase{4, 1, 256, 100, 50.0f, {3, 1}, {200, 90}}, AttentionCase{4, 4, 80, 20, 0.0f, {17}, {80}}}) {
    check_attention(c, DType::f8, 1.0);  // the reference reads the rounded pages: only the arithmetic differs
  }
}

Values product(const DeviceTensor& x, const DeviceTensor& w, const DeviceTensor* bias, std::int64_t rows, std::int64_t outputs,
               std::int64_t depth, std::int64_t first_output = 0) {
  Values y;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t n = 0; n < outputs; ++n) {
      double sum = bias ? bias->at(0, n) : 0.0;
      for (std::int64_t k = 0; k < depth; ++k) sum += double{x.at(row, k)} * w.at(first_output + n, k);
      y.push_back(sum);
    }
  }
  return y;
}

std::shared_ptr<BlasLibrary> blas_library() {
  const char* path = std::getenv("OCTAVO_CUBLASLT");
  std::string why_not;
  auto library = BlasLibrary::open({path ? path : ""}, why_not);
  if (!library) ADD_FAILURE() << "cuBLASLt: " << why_not;
  return library;
}

TEST_P(CudaOps, ProductsOfFewRowsTakeTheNormAndTheGate) {
  if (type() == DType::f32) GTEST_SKIP() << "bf16 and fp16 alone";
  for (const auto& [rows, outputs, depth] :
       std::vector<std::array<std::int64_t, 3>>{{1, 512, 4096}, {2, 96, 256}, {3, 1000, 896}, {4, 66, 1024}, {1, 9728, 896}}) {
    const auto x = DeviceTensor::random(rows, depth, type(), 1), w = DeviceTensor::random(outputs, depth, type(), 2),
               norm_weight = DeviceTensor::random(1, depth, DType::f32, 3), bias = DeviceTensor::random(1, outputs, DType::f32, 4);
    const Values normed = norm(x, nullptr, norm_weight, rows, depth, depth, 1e-5);
    Values expected, gated;
    for (std::int64_t row = 0; row < rows; ++row) {
      for (std::int64_t n = 0; n < outputs; ++n) {
        double sum = bias.at(0, n);
        for (std::int64_t k = 0; k < depth; ++k) sum += normed[static_cast<std::size_t>(row * depth + k)] * w.at(n, k);
        expected.push_back(sum);
      }
      for (std::int64_t n = 0; n < outputs / 2; ++n) {
        const double gate = expected[static_cast<std::size_t>(row * outputs + n)];
        gated.push_back(gate / (1.0 + std::exp(-gate)) * expected[static_cast<std::size_t>(row * outputs + outputs / 2 + n)]);
      }
    }
    SCOPED_TRACE(concat(rows, " x ", outputs, " x ", depth));
    DeviceTensor y(rows, outputs, type()), z(rows, outputs / 2, type());
    gemv(x.view(), w.view(), {bias.floats(), nullptr, norm_weight.floats(), 1e-5f, false}, y.view(), nullptr);
    expect_near(y, expected);
    gemv(x.view(), w.view(), {bias.floats(), nullptr, norm_weight.floats(), 1e-5f, true}, z.view(), nullptr);
    expect_near(z, gated);
  }
}

TEST_P(CudaOps, Products) {
  Products own(nullptr), blas(blas_library());
  for (const auto& [rows, outputs, depth] : std::vector<std::array<std::int64_t, 3>>{
           {1, 512, 4096}, {2, 96, 256}, {3, 1000, 64}, {4, 65, 1024}, {7, 130, 96}, {70, 200, 576}, {300, 64, 128}}) {
    const auto x = DeviceTensor::random(rows, depth, type(), 1), w = DeviceTensor::random(outputs, depth, type(), 2),
               bias = DeviceTensor::random(1, outputs, DType::f32, 3), typed = DeviceTensor::random(1, outputs, type(), 3);
    DeviceTensor rounded_bias(1, outputs, DType::f32);
    rounded_bias.set(typed.values());
    const Values plain = product(x, w, nullptr, rows, outputs, depth), biased = product(x, w, &typed, rows, outputs, depth);
    for (Products* products : {&own, &blas}) {
      SCOPED_TRACE(concat(products->describe(), " ", rows, " x ", outputs, " x ", depth));
      DeviceTensor y(rows, outputs, type()), z(rows, outputs, type()), wide(rows, outputs, DType::f32);
      products->product(x.view(), w.view(), {}, y.view(), nullptr);
      products->product(x.view(), w.view(), {{rounded_bias.floats(), typed.view().data}}, z.view(), nullptr);
      products->product(x.view(), w.view(), {}, wide.view(), nullptr);
      expect_near(y, plain);
      expect_near(z, biased);
      expect_near(wide, plain);
      const auto residual = DeviceTensor::random(rows, outputs, type(), 4);
      const DeviceMatrix added = residual.view();
      Values sums = biased;
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += residual.values()[i];
      for (int repeat = 0; repeat < 2; ++repeat) {
        products->product(x.view(), w.view(), {{rounded_bias.floats(), typed.view().data}, &added}, z.view(), nullptr);
        expect_near(z, sums, 2.0);  // without cuBLASLt the product is rounded before the residual joins it
        products->measure(x.view(), w.view(), {{rounded_bias.floats(), typed.view().data}, &added}, z.view(), nullptr);
      }
      products->measure(x.view(), w.view(), {}, y.view(), nullptr);
      products->product(x.view(), w.view(), {}, y.view(), nullptr);
      expect_near(y, plain);
    }
  }
  const std::string text = blas.choices();
  blas.set_choices(text);
  EXPECT_EQ(blas.choices(), text);
}

INSTANTIATE_TEST_SUITE_P(Types, CudaOps, testing::Values(DType::bf16, DType::f16, DType::f32),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace octavo::cuda

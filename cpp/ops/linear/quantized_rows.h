// Activations in 8 bits, the left operand of int8 arithmetic (linear.h).
//
// Every row is cut into groups of 32 consecutive k, each with a scale of its own: x[k] = scale * code[k] about, where
// scale = max |x| / 127 and code = x * (127 / max |x|) rounded to the nearest integer, ties to even: ggml's Q8_1 with the scale
// kept in float32. A group that holds an infinity or a NaN gets a scale of NaN, so that neither is lost.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/isa.h"
#include "cpu/thread_pool.h"

namespace octavo {

constexpr int kActivationGroup = 32;

struct ActivationGroup {
  float scale;
  float scaled_sum;      // scale * (sum of the 32 codes)
  std::int32_t sums[2];  // of the first and of the last 16 codes
};

struct QuantizedRows {
  std::int8_t* codes;       // [rows, cols], cols a multiple of 32
  ActivationGroup* groups;  // [rows, cols / 32]
  std::int64_t cols;

  std::int64_t num_groups() const { return cols / kActivationGroup; }
  static std::int64_t num_bytes(std::int64_t rows, std::int64_t cols);
  // Lays a matrix out in `memory`, aligned to 64 bytes, of num_bytes(rows, cols).
  static QuantizedRows in(std::uint8_t* memory, std::int64_t rows, std::int64_t cols);
};

// x [T, K] -> rows, with the kernels of `isa`. Throws std::invalid_argument unless K is a multiple of 32.
void quantize_rows(Matrix<const float> x, const QuantizedRows& rows, cpu::Isa isa, cpu::ThreadPool& pool);

}  // namespace octavo

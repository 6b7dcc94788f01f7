// Recurrences with a state in float32. A scan takes a block of tokens at once: a block of the state stays in registers, or in the first
// cache, while the tokens pass over it.
#include "cpu/vec_math.h"
#include "ops/state/state_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kStateRows = 8;  // of a scan's block of registers

OCTAVO_VEC Vec load_some(const float* from, std::int64_t left) {
  return left >= kLanes ? load(from) : load_first(from, static_cast<int>(left));
}
OCTAVO_VEC void store_some(float* to, Vec value, std::int64_t left) {
  if (left >= kLanes) {
    store(to, value);
  } else {
    store_first(to, value, static_cast<int>(left));
  }
}

void conv(Matrix<const float> x, Matrix<const float> w, const float* bias, bool fresh, Matrix<float> state, Matrix<float> y) {
  const std::int64_t before = w.rows - 1;
  for (std::int64_t col = 0; col < x.cols; col += kLanes) {
    const std::int64_t left = x.cols - col;
    const auto token = [&](std::int64_t index) {  // of the sequence, the step's first being 0
      if (index >= 0) return load_some(x.row(index) + col, left);
      return fresh ? zero() : load_some(state.row(before + index) + col, left);
    };
    for (std::int64_t t = 0; t < x.rows; ++t) {
      Vec sum = bias ? load_some(bias + col, left) : zero();
      for (std::int64_t k = 0; k <= before; ++k) sum = fma(load_some(w.row(k) + col, left), token(t - before + k), sum);
      store_some(y.row(t) + col, times_sigmoid(sum, sum), left);
    }
    for (std::int64_t k = 0; k < before; ++k) store_some(state.row(k) + col, token(x.rows - before + k), left);  // reads ahead of writes
  }
}

// Rows row..row+M-1 of the state and kLanes of its columns over all tokens; y of these columns so far is in `sums`.
template <int M>
OCTAVO_VEC void scan_block(Matrix<const float> b, Matrix<const float> c, const Vec* inputs, const float* decays, bool fresh,
                           Matrix<float> state, std::int64_t row, std::int64_t col, Vec* sums) {
  Vec rows[M];
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) rows[m] = fresh ? zero() : load(state.row(row + m) + col);
  for (std::int64_t t = 0; t < b.rows; ++t) {
    const Vec decay = broadcast(decays[t]), input = inputs[t];
    Vec sum = sums[t];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      rows[m] = fma(broadcast(b.row(t)[row + m]), input, rows[m] * decay);
      sum = fma(broadcast(c.row(t)[row + m]), rows[m], sum);
    }
    sums[t] = sum;
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) store(state.row(row + m) + col, rows[m]);
}

void scan(Matrix<const float> x, Matrix<const float> b, Matrix<const float> c, const float* steps, const float* decays, float d, bool fresh,
          Matrix<float> state, Matrix<float> y) {
  Vec inputs[kScanTokens], sums[kScanTokens];
  for (std::int64_t col = 0; col < x.cols; col += kLanes) {
    const std::int64_t left = x.cols - col;
    for (std::int64_t t = 0; t < x.rows; ++t) {
      const Vec token = load_some(x.row(t) + col, left);
      inputs[t] = token * steps[t];
      sums[t] = token * d;
    }
    std::int64_t row = 0;
    for (; row + kStateRows <= b.cols; row += kStateRows) scan_block<kStateRows>(b, c, inputs, decays, fresh, state, row, col, sums);
    for (; row < b.cols; ++row) scan_block<1>(b, c, inputs, decays, fresh, state, row, col, sums);
    for (std::int64_t t = 0; t < x.rows; ++t) store_some(y.row(t) + col, sums[t], left);
  }
}

void delta(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const float* betas, const float* decays, bool fresh,
           Matrix<float> state, Matrix<float> y) {
  for (std::int64_t col = 0; col < v.cols; col += kLanes) {
    const std::int64_t left = v.cols - col;
    if (fresh) {
      for (std::int64_t d = 0; d < k.cols; ++d) store(state.row(d) + col, zero());
    }
    for (std::int64_t t = 0; t < v.rows; ++t) {
      const Vec decay = broadcast(decays[t]);
      Vec known = zero(), result = zero();
      for (std::int64_t d = 0; d < k.cols; ++d) {
        const Vec kept = load(state.row(d) + col) * decay;
        store(state.row(d) + col, kept);
        known = fma(kept, broadcast(k.row(t)[d]), known);
      }
      const Vec change = (load_some(v.row(t) + col, left) - known) * betas[t];
      for (std::int64_t d = 0; d < k.cols; ++d) {
        const Vec row = fma(broadcast(k.row(t)[d]), change, load(state.row(d) + col));
        store(state.row(d) + col, row);
        result = fma(row, broadcast(q.row(t)[d]), result);
      }
      store_some(y.row(t) + col, result, left);
    }
  }
}

void gated_norm(const float* x, const float* gate, const float* weight, float eps, bool norm_first, float* y, std::int64_t count) {
  const auto gated = [&](Vec value, std::int64_t i) {
    const Vec z = load_some(gate + i, count - i);
    return value * times_sigmoid(z, z);
  };
  Vec squares = zero();
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const Vec value = load_some(x + i, count - i), normed = norm_first ? value : gated(value, i);
    squares = fma(normed, normed, squares);
  }
  const Vec factor = broadcast(1.0f / __builtin_sqrtf(sum_of(squares) / static_cast<float>(count) + eps));
  for (std::int64_t i = 0; i < count; i += kLanes) {
    const Vec value = load_some(x + i, count - i);
    const Vec normed = (norm_first ? value : gated(value, i)) * factor * load_some(weight + i, count - i);
    store_some(y + i, norm_first ? gated(normed, i) : normed, count - i);
  }
}

}  // namespace

const StateKernels& state_kernels() {
  static constexpr StateKernels kernels{conv, scan, delta, gated_norm};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA

// What state.cc asks of the kernels of one instruction set: one sequence, one head or one range of channels. `fresh`: the state is zeros,
// whatever its memory holds.
#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/dispatch.h"

namespace octavo {

constexpr std::int64_t kScanTokens = 64;  // whose steps and decays a head computes ahead

struct StateKernels {
  // x, y [n, C], w [K, C], state [K - 1, C] (views of as many columns); state becomes the last K - 1 tokens.
  void (*conv)(Matrix<const float> x, Matrix<const float> w, const float* bias, bool fresh, Matrix<float> state, Matrix<float> y);
  // n <= kScanTokens; x, y [n, P], b, c [n, N], steps, decays [n], state [N, P16].
  void (*scan)(Matrix<const float> x, Matrix<const float> b, Matrix<const float> c, const float* steps, const float* decays, float d,
               bool fresh, Matrix<float> state, Matrix<float> y);
  // n <= kScanTokens; q, k [n, D], v, y [n, P], betas, decays [n], state [D, P16].
  void (*delta)(Matrix<const float> q, Matrix<const float> k, Matrix<const float> v, const float* betas, const float* decays, bool fresh,
                Matrix<float> state, Matrix<float> y);
  // One group of columns.
  void (*gated_norm)(const float* x, const float* gate, const float* weight, float eps, bool norm_first, float* y, std::int64_t count);
};

OCTAVO_DECLARE_ISA_TABLE(StateKernels, state_kernels)

}  // namespace octavo

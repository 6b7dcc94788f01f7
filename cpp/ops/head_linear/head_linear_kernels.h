#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/dispatch.h"

namespace octavo {

struct HeadLinearKernels {
  // y [T, N] = x [T, K] w [K, N] of one head.
  void (*product)(Matrix<const float> x, Matrix<const float> w, Matrix<float> y);
};

OCTAVO_DECLARE_ISA_TABLE(HeadLinearKernels, head_linear_kernels)

}  // namespace octavo

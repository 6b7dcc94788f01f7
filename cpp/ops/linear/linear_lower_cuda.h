// Norms on their way to launches, with the product that reads them.
#pragma once
#include "cuda/lowering.h"
#include "ops/activation/activation_cuda.h"
#include "ops/linear/gemv_cuda.h"
#include "ops/norm/norm_cuda.h"

namespace octavo::cuda {

struct Norm {
  program::ValueId x, y;
  const program::Weight* weight;
  double eps;
};

// Launches of the norm and, where a `linear` (and a silu_and_mul behind it) alone reads it, of that too: with few rows they are one kernel.
// `distance`: of the first op behind the norm. Returns how many of them are lowered.
int lower_norm(OpLowering& op, const Norm& norm, int distance);

}  // namespace octavo::cuda

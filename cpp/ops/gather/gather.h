#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// y[i] = x[indices[i]]: x [T, E], indices [L] in 0..T-1, y [L, E], not overlapping x. Throws std::invalid_argument for another index.
void select_rows(Matrix<const float> x, Span<const std::int32_t> indices, Matrix<float> y, cpu::ThreadPool& pool);

}  // namespace octavo

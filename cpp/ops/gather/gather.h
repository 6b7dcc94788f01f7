#pragma once
#include <cstdint>

#include "base/tensor_view.h"
#include "cpu/thread_pool.h"

namespace octavo {

// y[i] = x[indices[i]]: x [T, E], indices [L] in 0..T-1, y [L, E], not overlapping x. Throws std::invalid_argument for another index.
void select_rows(Matrix<const float> x, Span<const std::int32_t> indices, Matrix<float> y, cpu::ThreadPool& pool);

// y[i] = x[ids[i, 0]], x[ids[i, 1]], ... side by side: x [T, E], ids [M, F] in 0..T-1, y [M, F * E], not overlapping x. Throws
// std::invalid_argument for another id.
void gather_rows(Matrix<const float> x, Matrix<const std::int32_t> ids, Matrix<float> y, cpu::ThreadPool& pool);

// y[t] = other[t] where chosen[t] is not 0, x[t] elsewhere: x, other, y [T, E], chosen [T, 1]; y may be x.
void choose_rows(Matrix<const float> x, Matrix<const float> other, Matrix<const std::int32_t> chosen, Matrix<float> y,
                 cpu::ThreadPool& pool);

}  // namespace octavo

// Philox4x32-10, a counter-based generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
// It has no state: the draw of a token is a function of (seed, choice, position) and nothing else.
#pragma once
#include <array>
#include <cstdint>

namespace octavo {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key);

// Uniform in [0, 1), 53 bits.
double uniform_draw(std::uint64_t seed, std::uint32_t choice, std::uint64_t position);

}  // namespace octavo

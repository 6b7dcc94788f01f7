// What tests of kernels share: each test runs once for every instruction set of this processor, on inputs that repeat.
#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "cpu/isa.h"

namespace octavo {

// Standard normal values; equal seeds give equal values.
inline std::vector<float> random_floats(std::int64_t count, unsigned seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  for (float& value : values) value = normal(generator);
  return values;
}

class KernelTest : public ::testing::TestWithParam<cpu::Isa> {
 protected:
  void SetUp() override { cpu::set_active_isa(GetParam()); }
  void TearDown() override { cpu::set_active_isa(cpu::available_isas().front()); }
};

}  // namespace octavo

// Half floats and bfloat16 to float32, without hardware support: for loading weights, not for inner loops.
#pragma once
#include <cstdint>
#include <cstring>

namespace octavo {

inline float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline float float_from_bf16(std::uint16_t bf16) { return float_from_bits(static_cast<std::uint32_t>(bf16) << 16); }

inline float float_from_half(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 31u;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return sign ? -value : value;
  }
  const std::uint32_t wide_exponent = exponent == 31 ? 255u : exponent + 112u;
  return float_from_bits(sign | (wide_exponent << 23) | (mantissa << 13));
}

// The inverse of float_from_half; `value` must be one that it can give.
inline std::uint16_t half_from_exact(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t exponent = (bits >> 23) & 255u;
  const std::uint32_t mantissa = (bits >> 13) & 0x3ffu;
  if (exponent == 255) return static_cast<std::uint16_t>(sign | 0x7c00u | mantissa);
  if (exponent > 112) return static_cast<std::uint16_t>(sign | ((exponent - 112u) << 10) | mantissa);
  const float magnitude = value < 0 ? -value : value;
  return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(magnitude * 0x1p24f));
}

}  // namespace octavo

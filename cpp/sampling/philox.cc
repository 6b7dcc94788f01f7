#include "sampling/philox.h"

namespace octavo {
namespace {

constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

std::uint32_t high(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }
std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

}  // namespace

PhiloxCounter philox4x32(PhiloxCounter counter, PhiloxKey key) {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0], product1 = kMultiplier1 * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1], low(product0)};
    key = {key[0] + kWeyl0, key[1] + kWeyl1};
  }
  return counter;
}

double uniform_draw(std::uint64_t seed, std::uint32_t choice, std::uint64_t position) {
  const PhiloxCounter bits = philox4x32({low(position), high(position), choice, 0}, {low(seed), high(seed)});
  const std::uint64_t mantissa = (std::uint64_t{bits[0] >> 5} << 26) | (bits[1] >> 6);
  return static_cast<double>(mantissa) * 0x1p-53;
}

}  // namespace octavo

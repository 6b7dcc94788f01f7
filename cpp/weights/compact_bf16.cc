#include "weights/compact_bf16.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

namespace octavo {
namespace {

constexpr std::int64_t kSampledWeights = 1 << 18;
constexpr std::int64_t kMinWeightsPerException = 256;  // with more of them, looking after exceptions costs more than it saves

std::array<std::int64_t, 256> count_upper_bytes(const std::vector<const std::uint8_t*>& rows, std::int64_t cols) {
  std::array<std::int64_t, 256> counts{};
  const auto num_rows = static_cast<std::int64_t>(rows.size());
  const std::int64_t step = std::max<std::int64_t>(1, num_rows * cols / kSampledWeights);
  for (std::int64_t row = 0; row < num_rows; row += step) {
    for (std::int64_t k = 0; k < cols; ++k) ++counts[rows[static_cast<std::size_t>(row)][2 * k + 1]];
  }
  return counts;
}

// Where byte `k % 8` of a column lies among the lower bytes of a block, so that interleaving them with the upper bytes yields the words of
// Packing::bf16.
std::int64_t lower_byte_index(int k, int column, int width) {
  return k / 4 * 4 * width + column / 4 * 16 + k % 4 / 2 * 8 + column % 4 * 2 + k % 2;
}

}  // namespace

std::optional<UpperBytes> choose_upper_bytes(const std::vector<const std::uint8_t*>& rows, std::int64_t cols) {
  const std::array<std::int64_t, 256> counts = count_upper_bytes(rows, cols);
  std::array<int, 256> bytes;
  std::iota(bytes.begin(), bytes.end(), 0);
  const auto count_of = [&](int byte) { return counts[static_cast<std::size_t>(byte)]; };
  std::stable_sort(bytes.begin(), bytes.end(), [&](int a, int b) { return count_of(a) > count_of(b); });
  UpperBytes chosen;
  std::fill(std::begin(chosen.code_of), std::end(chosen.code_of), std::int16_t{-1});
  std::int64_t covered = 0;
  for (int code = 0; code < 16; ++code) {
    const int byte = bytes[static_cast<std::size_t>(code)];
    chosen.of_code[code] = static_cast<std::uint8_t>(byte);
    chosen.code_of[byte] = static_cast<std::int16_t>(code);
    covered += count_of(byte);
  }
  const std::int64_t sampled = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  if ((sampled - covered) * kMinWeightsPerException > sampled) return std::nullopt;
  return chosen;
}

void pack_compact_bf16(const std::uint8_t* const* rows, int num_rows, const UpperBytes& upper_bytes, std::int64_t cols, int width,
                       std::uint8_t* panel, std::vector<Bf16Exception>& exceptions) {
  constexpr BlockShape kShape = block_shape(Packing::bf16_compact);
  const std::int64_t block_bytes = static_cast<std::int64_t>(kShape.code_bytes) * width;
  for (std::int64_t k = 0; k < cols; ++k) {
    std::uint8_t* block = panel + k / kShape.depth * block_bytes;
    const int place = static_cast<int>(k % kShape.depth);
    for (int column = 0; column < num_rows; ++column) {
      const std::uint8_t lower = rows[column][2 * k], upper = rows[column][2 * k + 1];
      const int code = upper_bytes.code_of[upper];
      if (code < 0) {
        const auto bits = static_cast<std::uint16_t>(upper << 8 | lower);
        exceptions.push_back({static_cast<std::int32_t>(k), static_cast<std::uint16_t>(column), bits});
      }
      const std::int64_t index = lower_byte_index(place, column, width);
      block[index] = lower;
      block[8 * width + index % (4 * width)] |= static_cast<std::uint8_t>(std::max(code, 0) << (place / 4 * 4));
    }
  }
}

}  // namespace octavo

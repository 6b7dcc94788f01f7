// How a weight matrix [N, K] lies in memory once packed: the contract between linear_weight.cc, which writes it, and
// linear_cpu.cc, which reads it.
//
// A panel is `width` output rows (columns of y); the width belongs to the instruction set (LinearKernels::panel_width). A panel is
// a run of blocks of `depth` consecutive k. A block has, for every k in turn, 32-bit words [width], one per column:
//   f32   one value per word
//   bf16  two values: k in the low half, k + 1 in the high half (K odd: padded by a zero)
//   bf16_compact  eight values in three rows of words: the lower bytes of k..k+3, those of k+4..k+7, and codes of the upper bytes (low
//         nibbles k..k+3, high nibbles k+4..k+7; compact_bf16.h). Each row lies so that interleaving lower with upper bytes, 16 at a time,
//         gives words as in bf16: of every four columns first the bytes of the first two k, then those of the last two
//   u8    four codes, k in the lowest byte
//   u4    eight codes, bytes 0-3: low nibbles k..k+3, high nibbles k+4..k+7
// (f16 has 16-bit rows [width] instead, which the conversion instructions want), then, when quantised, scales [width] and, where
// the format stores them, mins [width], both of one type. value = fma(code, scale, min); min = -zero_point * scale if not stored.
// Masking a u4 or u8 word yields four consecutive k of one column in four bytes, and a bf16 word two of them, which is what the
// dot-product instructions (vpdpbusd, vpmaddubsw, sdot, vdpbf16ps) take.
// (The groups of 64 and 128 have float32 scales and mins.) Codes of 5 and 6 bits are widened to 8: pulling a fifth bit out of another
// stream would cost decoding more than the bytes saved. Rows beyond N are zero.
#pragma once
#include <cstdint>

namespace octavo {

enum class Packing {
  f32,
  f16,
  bf16,
  bf16_compact,
  u4_f16,
  u4_f16_min,
  u4_f32_min,
  u8_f16,
  u8_f16_min,
  u8_f32_min,
  u8_group16_f32,
  u4_group64,
  u4_group128,
  u8_group128
};
constexpr int kNumPackings = 14;

struct BlockShape {
  int depth;        // values of k per block
  int code_bytes;   // per column
  int scale_bytes;  // per scale or min
  int num_scales;   // per column: 0, 1 (scale) or 2 (scale, min)
};

static constexpr BlockShape block_shape(Packing packing) {
  switch (packing) {
    case Packing::f32:
      return {1, 4, 0, 0};
    case Packing::f16:
      return {1, 2, 0, 0};
    case Packing::bf16:
      return {2, 4, 0, 0};
    case Packing::bf16_compact:
      return {8, 12, 0, 0};
    case Packing::u4_f16:
      return {32, 16, 2, 1};
    case Packing::u4_f16_min:
      return {32, 16, 2, 2};
    case Packing::u4_f32_min:
      return {32, 16, 4, 2};
    case Packing::u8_f16:
      return {32, 32, 2, 1};
    case Packing::u8_f16_min:
      return {32, 32, 2, 2};
    case Packing::u8_f32_min:
      return {32, 32, 4, 2};
    case Packing::u4_group64:
      return {64, 32, 4, 2};
    case Packing::u4_group128:
      return {128, 64, 4, 2};
    case Packing::u8_group128:
      return {128, 128, 4, 2};
    default:
      return {16, 16, 4, 1};
  }
}

static constexpr int block_bytes_per_column(Packing packing) {
  return block_shape(packing).code_bytes + block_shape(packing).scale_bytes * block_shape(packing).num_scales;
}

// A weight of Packing::bf16_compact that its panel does not hold.
struct Bf16Exception {
  std::int32_t k;
  std::uint16_t column;  // of the panel
  std::uint16_t bits;
};

}  // namespace octavo

#include "weights/pack_panel.h"

#include <cstring>

#include "weights/half.h"
#include "weights/quantized_group.h"

namespace octavo {
namespace {

// Elements of `size` bytes, [k][width]; for bf16 in pairs of k.
void pack_float_row(const std::uint8_t* row, std::int64_t cols, int size, int per_word, int width, int column, std::uint8_t* panel) {
  for (std::int64_t k = 0; k < cols; ++k) {
    const std::int64_t word = k / per_word * width + column;
    std::memcpy(panel + (word * per_word + k % per_word) * size, row + k * size, static_cast<std::size_t>(size));
  }
}

// Four consecutive codes as the bytes of a word, the first in the lowest.
std::uint32_t four_codes(const std::uint8_t* codes) {
  return codes[0] | static_cast<std::uint32_t>(codes[1]) << 8 | static_cast<std::uint32_t>(codes[2]) << 16 |
         static_cast<std::uint32_t>(codes[3]) << 24;
}

void store_scale(std::uint8_t* to, float value, int scale_bytes) {
  if (scale_bytes == 4) {
    std::memcpy(to, &value, sizeof value);
  } else {
    const Half half = half_from_exact(value);
    std::memcpy(to, &half, sizeof half);
  }
}

// Run `run` of a block, and the block's scales with it.
void pack_group(const QuantizedGroup& group, int group_size, const BlockShape& shape, int run, int width, int column, std::uint8_t* block) {
  const bool nibbles = shape.code_bytes * 2 == shape.depth;
  const int num_words = group_size / (nibbles ? 8 : 4);
  for (int word = 0; word < num_words; ++word) {
    const std::uint8_t* codes = group.codes + word * (nibbles ? 8 : 4);
    const std::uint32_t bits = nibbles ? four_codes(codes) | four_codes(codes + 4) << 4 : four_codes(codes);
    std::memcpy(block + ((run * num_words + word) * width + column) * 4, &bits, sizeof bits);
  }
  std::uint8_t* scales = block + shape.code_bytes * width;
  store_scale(scales + column * shape.scale_bytes, group.scale, shape.scale_bytes);
  if (shape.num_scales == 2) store_scale(scales + (width + column) * shape.scale_bytes, group.min, shape.scale_bytes);
}

void pack_quantized_row(const std::uint8_t* row, Format format, std::int64_t cols, int width, int column, std::uint8_t* panel) {
  const BlockShape shape = block_shape(packing_of(format));
  const std::int64_t packed_bytes = static_cast<std::int64_t>(block_bytes_per_column(packing_of(format))) * width;
  const GroupReader& reader = group_reader(format);
  const std::int64_t raw_bytes = block_bytes(format);
  const std::int64_t raw_elements = block_elements(format);
  QuantizedGroup groups[kMaxGroupsPerBlock];
  for (std::int64_t k = 0; k < cols; k += raw_elements, row += raw_bytes) {
    reader.read(row, groups);
    const int runs_per_block = shape.depth / reader.group_size;
    for (int g = 0; g < raw_elements / reader.group_size; ++g) {
      pack_group(groups[g], reader.group_size, shape, g % runs_per_block, width, column, panel + g / runs_per_block * packed_bytes);
    }
    panel += raw_elements / shape.depth * packed_bytes;
  }
}

}  // namespace

Packing packing_of(Format format) {
  switch (format) {
    case Format::F32:
      return Packing::f32;
    case Format::F16:
      return Packing::f16;
    case Format::BF16:
      return Packing::bf16;
    case Format::Q4_0:
      return Packing::u4_f16;
    case Format::Q4_1:
      return Packing::u4_f16_min;
    case Format::Q4_K:
    case Format::U4_G32:
      return Packing::u4_f32_min;
    case Format::Q8_0:
    case Format::Q5_0:
      return Packing::u8_f16;
    case Format::Q5_1:
      return Packing::u8_f16_min;
    case Format::Q5_K:
    case Format::U8_G32:
      return Packing::u8_f32_min;
    case Format::U4_G64:
      return Packing::u4_group64;
    case Format::U4_G128:
      return Packing::u4_group128;
    case Format::U8_G128:
      return Packing::u8_group128;
    default:
      return Packing::u8_group16_f32;
  }
}

std::int64_t packed_panel_bytes(Packing packing, std::int64_t cols, int width) {
  const std::int64_t depth = block_shape(packing).depth;
  return (cols + depth - 1) / depth * block_bytes_per_column(packing) * width;
}

void pack_panel(const std::uint8_t* const* rows, int num_rows, Format format, std::int64_t cols, int width, std::uint8_t* panel) {
  for (int column = 0; column < num_rows; ++column) {
    switch (format) {
      case Format::F32:
        pack_float_row(rows[column], cols, 4, 1, width, column, panel);
        break;
      case Format::F16:
        pack_float_row(rows[column], cols, 2, 1, width, column, panel);
        break;
      case Format::BF16:
        pack_float_row(rows[column], cols, 2, 2, width, column, panel);
        break;
      default:
        pack_quantized_row(rows[column], format, cols, width, column, panel);
    }
  }
}

}  // namespace octavo

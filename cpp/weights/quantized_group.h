// Every block format seen the same way: runs of codes with one scale and one min.
//
// value = code * scale + min. The product is exact in float32 (codes have at most 8 bits, scales at most 18), so one rounding is
// left, whether the sum is a plain or a fused one; it is the rounding that ggml's own formula has. Where codes are offset by a
// zero point, min is -zero_point * scale, exact as well, and so is the whole value. Scales of U4_G* and U8_G* may have 24 bits;
// then a value is within one rounding of the formula.
#pragma once
#include <cstdint>

#include "weights/format.h"

namespace octavo {

struct QuantizedGroup {
  std::uint8_t codes[32];  // the first group_size of them
  float scale;
  float min;
};

struct GroupReader {
  int group_size;  // 32 or 16
  int zero_point;  // for formats whose min follows from the scale; 0 for formats that store one
  void (*read)(const std::uint8_t* block, QuantizedGroup* groups);  // all block_elements / group_size groups of a block
};

constexpr int kMaxGroupsPerBlock = 16;

bool is_quantized(Format format);
const GroupReader& group_reader(Format format);  // of a quantised format

}  // namespace octavo

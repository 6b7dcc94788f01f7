#include "weights/quantized_group.h"

#include <cstring>
#include <stdexcept>

#include "weights/half.h"

namespace octavo {
namespace {

template <typename Block>
Block load_block(const std::uint8_t* from) {  // blocks in a file are not aligned
  Block block;
  std::memcpy(&block, from, sizeof block);
  return block;
}

void split_nibbles(const std::uint8_t* bytes, int count, std::uint8_t* low, std::uint8_t* high) {
  for (int i = 0; i < count; ++i) {
    low[i] = bytes[i] & 15;
    high[i] = bytes[i] >> 4;
  }
}

void add_fifth_bits(const std::uint8_t* bits, std::uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] |= static_cast<std::uint8_t>(((bits[i / 8] >> (i % 8)) & 1) << 4);
}

void set_scale(QuantizedGroup& group, float scale, int zero_point) {
  group.scale = scale;
  group.min = -static_cast<float>(zero_point) * scale;
}

void read_q8_0(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ8_0>(from);
  for (int i = 0; i < 32; ++i) groups->codes[i] = static_cast<std::uint8_t>(block.qs[i] + 128);
  set_scale(*groups, float_from_half(block.d), 128);
}

void read_q4_0(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ4_0>(from);
  split_nibbles(block.qs, 16, groups->codes, groups->codes + 16);
  set_scale(*groups, float_from_half(block.d), 8);
}

void read_q4_1(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ4_1>(from);
  split_nibbles(block.qs, 16, groups->codes, groups->codes + 16);
  groups->scale = float_from_half(block.d);
  groups->min = float_from_half(block.m);
}

void read_q5_0(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ5_0>(from);
  split_nibbles(block.qs, 16, groups->codes, groups->codes + 16);
  add_fifth_bits(block.qh, groups->codes);
  set_scale(*groups, float_from_half(block.d), 16);
}

void read_q5_1(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ5_1>(from);
  split_nibbles(block.qs, 16, groups->codes, groups->codes + 16);
  add_fifth_bits(block.qh, groups->codes);
  groups->scale = float_from_half(block.d);
  groups->min = float_from_half(block.m);
}

// Twelve bytes hold eight 6-bit scales and eight 6-bit mins: bytes 0-3 and 4-7 the first four of each, with the upper two bits of
// the last four above them; bytes 8-11 the lower four bits of the last four scales and mins.
void read_k_scales(const std::uint8_t* packed, float d, float dmin, QuantizedGroup* groups) {
  for (int i = 0; i < 4; ++i) {
    groups[i].scale = d * static_cast<float>(packed[i] & 63);
    groups[i].min = -(dmin * static_cast<float>(packed[i + 4] & 63));
    groups[i + 4].scale = d * static_cast<float>((packed[i + 8] & 15) | ((packed[i] >> 6) << 4));
    groups[i + 4].min = -(dmin * static_cast<float>((packed[i + 8] >> 4) | ((packed[i + 4] >> 6) << 4)));
  }
}

void read_q4_k(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ4_K>(from);
  for (int g = 0; g < 8; g += 2) split_nibbles(block.qs + 16 * g, 32, groups[g].codes, groups[g + 1].codes);
  read_k_scales(block.scales, float_from_half(block.d), float_from_half(block.dmin), groups);
}

void read_q5_k(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ5_K>(from);
  for (int g = 0; g < 8; g += 2) split_nibbles(block.qs + 16 * g, 32, groups[g].codes, groups[g + 1].codes);
  for (int g = 0; g < 8; ++g) {
    for (int i = 0; i < 32; ++i) groups[g].codes[i] |= static_cast<std::uint8_t>(((block.qh[i] >> g) & 1) << 4);
  }
  read_k_scales(block.scales, float_from_half(block.d), float_from_half(block.dmin), groups);
}

// Each half of the block (128 values, 64 bytes of ql, 32 of qh) has four runs of 32: low nibbles of ql's two halves, then the high ones.
void read_q6_k(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockQ6_K>(from);
  const float d = float_from_half(block.d);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, run = i / 32 % 4, at = i % 32;
    const int low = block.ql[half * 64 + (run % 2) * 32 + at] >> (run / 2 * 4) & 15;
    const int high = block.qh[half * 32 + at] >> (run * 2) & 3;
    groups[i / 16].codes[i % 16] = static_cast<std::uint8_t>(low | high << 4);
  }
  for (int g = 0; g < 16; ++g) set_scale(groups[g], d * static_cast<float>(block.scales[g]), 32);
}

// A run of 32 of a group is a group to everyone else.
template <int kSize>
void read_group(const std::uint8_t* from, QuantizedGroup* groups) {
  const auto block = load_block<BlockGroup<kSize>>(from);
  for (int run = 0; run < kSize / 32; ++run) {
    std::memcpy(groups[run].codes, block.codes + 32 * run, 32);
    groups[run].scale = block.scale;
    groups[run].min = block.min;
  }
}

}  // namespace

bool is_quantized(Format format) { return format != Format::F32 && format != Format::F16 && format != Format::BF16; }

const GroupReader& group_reader(Format format) {
  static const GroupReader q8_0{32, 128, read_q8_0}, q4_0{32, 8, read_q4_0}, q4_1{32, 0, read_q4_1}, q5_0{32, 16, read_q5_0},
      q5_1{32, 0, read_q5_1}, q4_k{32, 0, read_q4_k}, q5_k{32, 0, read_q5_k}, q6_k{16, 32, read_q6_k}, group32{32, 0, read_group<32>},
      group64{32, 0, read_group<64>}, group128{32, 0, read_group<128>};
  switch (format) {
    case Format::Q8_0:
      return q8_0;
    case Format::Q4_0:
      return q4_0;
    case Format::Q4_1:
      return q4_1;
    case Format::Q5_0:
      return q5_0;
    case Format::Q5_1:
      return q5_1;
    case Format::Q4_K:
      return q4_k;
    case Format::Q5_K:
      return q5_k;
    case Format::Q6_K:
      return q6_k;
    case Format::U4_G32:
    case Format::U8_G32:
      return group32;
    case Format::U4_G64:
      return group64;
    case Format::U4_G128:
    case Format::U8_G128:
      return group128;
    default:
      throw std::logic_error("group_reader: the format is not quantised");
  }
}

}  // namespace octavo

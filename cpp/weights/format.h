// Storage formats of weights: plain floats, the block formats of GGUF, and blocks made of codes, scales and zero points that a
// checkpoint keeps in tensors of their own (GPTQ, AWQ, compressed-tensors; one byte per code, so only on their way to be packed).
//
// A block holds `block_elements` consecutive values of one row, least significant byte first; the value of every element is the
// one ggml's reference code gives it (https://github.com/ggml-org/ggml, docs/gguf.md and ggml-common.h). In all of them a value is
// code * scale + min with a small unsigned integer code; Q*_0, Q8_0 and Q6_K have no min, their codes are offset by a zero point.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace octavo {

enum class Format { F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, U4_G32, U4_G64, U4_G128, U8_G32, U8_G128 };

const std::vector<Format>& all_formats();
const char* name_of(Format format);
Format format_from_name(const std::string& name);  // throws std::invalid_argument, listing the names
std::int64_t block_elements(Format format);        // 1, 32, 64, 128 or 256
std::int64_t block_bytes(Format format);
std::int64_t format_bytes(Format format, std::int64_t num_elements);  // throws unless whole blocks

using Half = std::uint16_t;  // the bits of an IEEE half float

struct BlockQ8_0 {  // value = d * qs[i], qs signed
  Half d;
  std::int8_t qs[32];
};
struct BlockQ4_0 {  // value = d * (code - 8); byte j has the codes of elements j (low nibble) and j + 16
  Half d;
  std::uint8_t qs[16];
};
struct BlockQ4_1 {  // value = d * code + m; nibbles as in Q4_0
  Half d;
  Half m;
  std::uint8_t qs[16];
};
struct BlockQ5_0 {  // value = d * (code - 16); bit i of qh is bit 4 of code i
  Half d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ5_1 {  // value = d * code + m
  Half d;
  Half m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
struct BlockQ4_K {  // 8 groups of 32: value = d * scale[g] * code - dmin * min[g]; scales: 8 pairs of 6 bits
  Half d;
  Half dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];  // 32 bytes for two groups: low nibbles the first, high nibbles the second
};
struct BlockQ5_K {  // as Q4_K; bit g of qh[i] is bit 4 of code i of group g
  Half d;
  Half dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
struct BlockQ6_K {       // 16 groups of 16: value = d * scales[g] * (code - 32)
  std::uint8_t ql[128];  // low 4 bits
  std::uint8_t qh[64];   // high 2 bits
  std::int8_t scales[16];
  Half d;
};

template <int kSize>
struct BlockGroup {  // U4_G*, U8_G*: value = scale * codes[i] + min, codes below 16 or 256
  float scale;
  float min;
  std::uint8_t codes[kSize];
};

static_assert(sizeof(BlockQ8_0) == 34, "the file's layout has no padding");
static_assert(sizeof(BlockQ4_0) == 18, "the file's layout has no padding");
static_assert(sizeof(BlockQ4_1) == 20, "the file's layout has no padding");
static_assert(sizeof(BlockQ5_0) == 22, "the file's layout has no padding");
static_assert(sizeof(BlockQ5_1) == 24, "the file's layout has no padding");
static_assert(sizeof(BlockQ4_K) == 144, "the file's layout has no padding");
static_assert(sizeof(BlockQ5_K) == 176, "the file's layout has no padding");
static_assert(sizeof(BlockGroup<128>) == 136, "the file's layout has no padding");
static_assert(sizeof(BlockQ6_K) == 210, "the file's layout has no padding");

}  // namespace octavo

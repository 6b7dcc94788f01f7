// bfloat16 in 12 bits, without loss: Packing::bf16_compact.
//
// The upper byte of a bfloat16 is its sign and seven of the eight bits of its exponent. The weights of a trained matrix lie within some
// binades of one another, so that 16 upper bytes make up nearly all of them: a table holds these, four bits of a weight name one, and
// the lower byte is kept as it is. Weights with another upper byte (about one in ten thousand) are exceptions, kept beside the panels.
// DFloat11 (https://arxiv.org/abs/2504.11651) codes whole exponents by their frequency, in 11 bits: fewer, but no byte shuffle reads them.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "weights/panel_layout.h"

namespace octavo {

struct UpperBytes {
  std::uint8_t of_code[16];
  std::int16_t code_of[256];  // -1: none
};

struct CompactBf16 {
  UpperBytes upper_bytes;
  std::vector<Bf16Exception> exceptions;        // by panel, by k, by column
  std::vector<std::int64_t> exceptions_indptr;  // [num_panels + 1]
};

// The upper bytes that rows of `cols` bfloat16 are best coded by, judged by a sample; none where they would leave so many exceptions
// that plain bfloat16 is read faster.
std::optional<UpperBytes> choose_upper_bytes(const std::vector<const std::uint8_t*>& rows, std::int64_t cols);

// Writes a panel of `width` columns (panel_layout.h) and appends its exceptions in order. rows: `num_rows` <= width pointers.
void pack_compact_bf16(const std::uint8_t* const* rows, int num_rows, const UpperBytes& upper_bytes, std::int64_t cols, int width,
                       std::uint8_t* panel, std::vector<Bf16Exception>& exceptions);

}  // namespace octavo

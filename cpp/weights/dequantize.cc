#include "weights/dequantize.h"

#include <cstring>

#include "weights/half.h"
#include "weights/quantized_group.h"

namespace octavo {
namespace {

template <float (*convert)(std::uint16_t)>
void widen(const std::uint8_t* data, std::int64_t num_elements, float* out) {
  for (std::int64_t i = 0; i < num_elements; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, data + 2 * i, sizeof bits);
    out[i] = convert(bits);
  }
}

void dequantize_blocks(const std::uint8_t* data, Format format, std::int64_t num_elements, float* out) {
  const GroupReader& reader = group_reader(format);
  const std::int64_t groups_per_block = block_elements(format) / reader.group_size;
  QuantizedGroup groups[kMaxGroupsPerBlock];
  for (std::int64_t done = 0; done < num_elements; data += block_bytes(format)) {
    reader.read(data, groups);
    for (std::int64_t g = 0; g < groups_per_block; ++g, done += reader.group_size) {
      for (int i = 0; i < reader.group_size; ++i) out[done + i] = static_cast<float>(groups[g].codes[i]) * groups[g].scale + groups[g].min;
    }
  }
}

}  // namespace

void dequantize(const std::uint8_t* data, Format format, std::int64_t num_elements, float* out) {
  const std::int64_t num_bytes = format_bytes(format, num_elements);
  switch (format) {
    case Format::F32:
      std::memcpy(out, data, static_cast<std::size_t>(num_bytes));
      break;
    case Format::F16:
      widen<float_from_half>(data, num_elements, out);
      break;
    case Format::BF16:
      widen<float_from_bf16>(data, num_elements, out);
      break;
    default:
      dequantize_blocks(data, format, num_elements, out);
  }
}

}  // namespace octavo

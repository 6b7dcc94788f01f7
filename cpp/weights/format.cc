#include "weights/format.h"

#include "base/error.h"

namespace octavo {
namespace {

struct FormatSize {
  const char* name;
  std::int64_t block_elements;
  std::int64_t block_bytes;
};

FormatSize size_of_format(Format format) {
  switch (format) {
    case Format::F32:
      return {"F32", 1, 4};
    case Format::F16:
      return {"F16", 1, 2};
    case Format::BF16:
      return {"BF16", 1, 2};
    case Format::Q8_0:
      return {"Q8_0", 32, sizeof(BlockQ8_0)};
    case Format::Q4_0:
      return {"Q4_0", 32, sizeof(BlockQ4_0)};
    case Format::Q4_1:
      return {"Q4_1", 32, sizeof(BlockQ4_1)};
    case Format::Q5_0:
      return {"Q5_0", 32, sizeof(BlockQ5_0)};
    case Format::Q5_1:
      return {"Q5_1", 32, sizeof(BlockQ5_1)};
    case Format::Q4_K:
      return {"Q4_K", 256, sizeof(BlockQ4_K)};
    case Format::Q5_K:
      return {"Q5_K", 256, sizeof(BlockQ5_K)};
    case Format::Q6_K:
      return {"Q6_K", 256, sizeof(BlockQ6_K)};
    case Format::U4_G32:
      return {"U4_G32", 32, sizeof(BlockGroup<32>)};
    case Format::U4_G64:
      return {"U4_G64", 64, sizeof(BlockGroup<64>)};
    case Format::U4_G128:
      return {"U4_G128", 128, sizeof(BlockGroup<128>)};
    case Format::U8_G32:
      return {"U8_G32", 32, sizeof(BlockGroup<32>)};
    case Format::U8_G128:
      return {"U8_G128", 128, sizeof(BlockGroup<128>)};
  }
  throw std::logic_error("format: not a value of the enumeration");
}

}  // namespace

const std::vector<Format>& all_formats() {
  static const std::vector<Format> formats{Format::F32,    Format::F16,     Format::BF16,   Format::Q8_0,   Format::Q4_0, Format::Q4_1,
                                           Format::Q5_0,   Format::Q5_1,    Format::Q4_K,   Format::Q5_K,   Format::Q6_K, Format::U4_G32,
                                           Format::U4_G64, Format::U4_G128, Format::U8_G32, Format::U8_G128};
  return formats;
}

const char* name_of(Format format) { return size_of_format(format).name; }
std::int64_t block_elements(Format format) { return size_of_format(format).block_elements; }
std::int64_t block_bytes(Format format) { return size_of_format(format).block_bytes; }

Format format_from_name(const std::string& name) {
  std::string names;
  for (Format format : all_formats()) {
    if (name == name_of(format)) return format;
    names += std::string(names.empty() ? "" : ", ") + name_of(format);
  }
  throw std::invalid_argument(concat("weight format ", name, " is not known; it can be one of: ", names));
}

std::int64_t format_bytes(Format format, std::int64_t num_elements) {
  const FormatSize size = size_of_format(format);
  require(num_elements >= 0 && num_elements % size.block_elements == 0, "format ", size.name, ": ", num_elements,
          " elements are not whole blocks of ", size.block_elements);
  return num_elements / size.block_elements * size.block_bytes;
}

}  // namespace octavo

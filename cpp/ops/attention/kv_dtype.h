// Element types of the KV cache. Attention's arithmetic is float32 whatever they are: values are rounded when they are stored.
//
//   fp32        as computed
//   bf16, fp16  nearest, ties to even. A finite value past the largest one (3.39e38, 65504) becomes that one: an infinity in the
//               cache would turn into NaN. Infinities and NaN stay what they are.
//   int8        code * scale with code in -127..127 and one float32 scale = max |x| / 127 for each token, key/value head, and key or
//               value; code = x / scale to nearest, ties to even. With scale 0 all codes are 0. A vector with an infinity or NaN
//               reads as NaN wherever it is not infinite.
#pragma once
#include <cstdint>
#include <string>

namespace octavo {

enum class KVDtype : std::uint8_t { fp32, bf16, fp16, int8 };
constexpr int kNumKVDtypes = 4;

const char* name_of(KVDtype dtype);
KVDtype kv_dtype_from_name(const std::string& name);  // throws std::invalid_argument, listing the names

constexpr std::int64_t element_bytes(KVDtype dtype) { return dtype == KVDtype::fp32 ? 4 : dtype == KVDtype::int8 ? 1 : 2; }

}  // namespace octavo

#include "ops/attention/kv_dtype.h"

#include "base/error.h"

namespace octavo {
namespace {

constexpr const char* kNames[kNumKVDtypes] = {"fp32", "bf16", "fp16", "int8"};

}  // namespace

const char* name_of(KVDtype dtype) { return kNames[static_cast<int>(dtype)]; }

KVDtype kv_dtype_from_name(const std::string& name) {
  std::string known;
  for (int index = 0; index < kNumKVDtypes; ++index) {
    if (name == kNames[index]) return static_cast<KVDtype>(index);
    known += (index ? ", " : "") + std::string(kNames[index]);
  }
  throw std::invalid_argument(concat("KV cache: dtype is '", name, "'; it must be one of: ", known));
}

}  // namespace octavo

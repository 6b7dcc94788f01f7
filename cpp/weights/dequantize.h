// Raw blocks to float32.
#pragma once
#include <cstdint>

#include "weights/format.h"

namespace octavo {

// out[i] is the value of element i, as ggml defines it (the sign of a zero apart). num_elements must be whole blocks. Not threaded.
void dequantize(const std::uint8_t* data, Format format, std::int64_t num_elements, float* out);

}  // namespace octavo

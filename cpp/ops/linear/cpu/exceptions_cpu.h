// Weights of Packing::bf16_compact that a panel does not hold (compact_bf16.h). For linear_cpu.cc alone.
#pragma once
#include "ops/linear/cpu/decode_cpu.h"

namespace octavo::OCTAVO_ISA {

template <typename Decoder>
constexpr bool kHasExceptions = false;
#if defined(OCTAVO_BYTE_SHUFFLES)
template <>
constexpr bool kHasExceptions<Bf16CompactDecoder> = true;
#endif

// Those of a panel that are still to come, in order of k.
struct Exceptions {
  const Bf16Exception* next;
  const Bf16Exception* end;
};

OCTAVO_VEC Exceptions exceptions_of(const LinearTask& task, std::int64_t panel) {
  return {task.exceptions + task.exceptions_indptr[panel], task.exceptions + task.exceptions_indptr[panel + 1]};
}

// Puts those of k = first_k .. first_k + depth - 1 in their places of weights [depth][kPanelWidth], or, where a word holds kGroup = 2 of
// them, of words [depth / 2][kPanelWidth], and returns the ones after.
template <int kGroup = 1>
OCTAVO_VEC Exceptions put_exceptions(Exceptions exceptions, std::int64_t first_k, std::int64_t depth, float* weights) {
  for (; exceptions.next != exceptions.end && exceptions.next->k < first_k + depth; ++exceptions.next) {
    const Bf16Exception& exception = *exceptions.next;
    if (exception.k < first_k) continue;
    const std::int64_t k = exception.k - first_k, half = kGroup == 1 ? 1 : k % 2;  // the lower half of a float32 is zero already
    unsigned char* word = reinterpret_cast<unsigned char*>(weights + k / kGroup * kPanelWidth + exception.column);
    std::memcpy(word + half * 2, &exception.bits, sizeof exception.bits);
  }
  return exceptions;
}

}  // namespace octavo::OCTAVO_ISA

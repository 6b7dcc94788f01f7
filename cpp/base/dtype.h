// Element types of a TensorView. Quantised storage formats are not dtypes: see weights/format.h.
#pragma once
#include <cstddef>
#include <cstdint>

namespace octavo {

// f8: four bits of exponent, three of fraction, no infinity (E4M3; Micikevicius et al., arXiv:2209.05433).
enum class DType : std::uint8_t { f32, f16, bf16, i32, i8, u8, f8 };

constexpr std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
    case DType::i32:
      return 4;
    case DType::f16:
    case DType::bf16:
      return 2;
    default:
      return 1;
  }
}

constexpr const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "f32";
    case DType::f16:
      return "f16";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::i8:
      return "i8";
    case DType::f8:
      return "f8";
    default:
      return "u8";
  }
}

}  // namespace octavo

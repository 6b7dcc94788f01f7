// Elements of a KV cache in vectors: `load` gives kLanes of them as float32, without their scale; `encode` rounds `count` floats, a
// multiple of kLanes, and returns their scale. ops/attention/kv_dtype.h has the definitions. Include it only from *_cpu.cc.
#pragma once
#include "cpu/vec_math.h"
#include "ops/attention/kv_dtype.h"

namespace octavo::OCTAVO_ISA {

constexpr float kInfinity = __builtin_inff();

// Finite values beyond the limit become the limit.
OCTAVO_VEC Vec saturate(Vec x, float limit) {
  const Vec inside = min(broadcast(limit), max(broadcast(-limit), x));
  return magnitude(x) < kInfinity ? inside : x;
}

// The bits of kLanes bfloat16, rounded to nearest even.
OCTAVO_VEC IntVec to_bf16(Vec x) {
  const IntVec bits = (IntVec)saturate(x, 3.38953139e38f);
  const IntVec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (x == x ? rounded : (bits >> 16) | 0x40) & 0xffff;  // rounding could carry a NaN into zero
}

// The bits of kLanes half floats, rounded to nearest even.
OCTAVO_VEC IntVec to_f16(Vec x) {
  const IntVec bits = (IntVec)magnitude(saturate(x, 65504.0f));
  const IntVec normal = ((bits + 0xfff + ((bits >> 13) & 1)) >> 13) - (112 << 10);
  const IntVec subnormal = (IntVec)((Vec)bits + 0.5f) - 0x3f000000;  // in units of 2^-24: the addition rounds
  const IntVec special = IntVec{} + 0x7c00 + (x == x ? IntVec{} : IntVec{} + 0x200);
  const IntVec finite = bits < (113 << 23) ? subnormal : normal;
  return (bits < 0x7f800000 ? finite : special) | (((IntVec)x >> 16) & 0x8000);
}

struct Fp32Element {
  using Storage = float;
  static constexpr bool kScaled = false;
  OCTAVO_VEC Vec load(const Storage* from) { return OCTAVO_ISA::load(from); }
  OCTAVO_VEC float encode(const float* x, int count, Storage* to) {
    std::memcpy(to, x, static_cast<std::size_t>(count) * sizeof(float));
    return 1.0f;
  }
};

template <IntVec (*to_bits)(Vec)>
OCTAVO_VEC void encode_halves(const float* x, int count, std::uint16_t* to) {
  for (int i = 0; i < count; i += kLanes) {
    const HalfVec halves = __builtin_convertvector(to_bits(load(x + i)), HalfVec);
    std::memcpy(to + i, &halves, sizeof halves);
  }
}

struct Bf16Element {
  using Storage = std::uint16_t;
  static constexpr bool kScaled = false;
  OCTAVO_VEC Vec load(const Storage* from) { return load_bf16(from); }
  OCTAVO_VEC float encode(const float* x, int count, Storage* to) {
    encode_halves<to_bf16>(x, count, to);
    return 1.0f;
  }
};

struct Fp16Element {
  using Storage = std::uint16_t;
  static constexpr bool kScaled = false;
  OCTAVO_VEC Vec load(const Storage* from) { return load_f16(from); }
  OCTAVO_VEC float encode(const float* x, int count, Storage* to) {
    encode_halves<to_f16>(x, count, to);
    return 1.0f;
  }
};

// max |x|; a NaN among them is the result, because a NaN's bits are larger than an infinity's.
OCTAVO_VEC float max_magnitude(const float* x, int count) {
  IntVec largest = {};
  for (int i = 0; i < count; i += kLanes) {
    const IntVec bits = (IntVec)magnitude(OCTAVO_ISA::load(x + i));
    largest = bits > largest ? bits : largest;
  }
  std::int32_t best = 0;
  for (int lane = 0; lane < kLanes; ++lane) best = largest[lane] > best ? largest[lane] : best;
  float value;
  std::memcpy(&value, &best, sizeof value);
  return value;
}

struct Int8Element {
  using Storage = std::int8_t;
  static constexpr bool kScaled = true;
  OCTAVO_VEC Vec load(const Storage* from) { return to_float(load_i8(from)); }
  OCTAVO_VEC float encode(const float* x, int count, Storage* to) {
    constexpr float kRounds = 12582912.0f;  // 1.5 * 2^23: added to a small number, it leaves no bits for a fraction
    const float scale = max_magnitude(x, count) / 127.0f;
    const bool has_codes = scale > 0.0f && scale < kInfinity;
    for (int i = 0; i < count; i += kLanes) {
      const Vec quotient = OCTAVO_ISA::load(x + i) / broadcast(has_codes ? scale : kInfinity);
      const Vec bounded = min(broadcast(127.0f), max(broadcast(-127.0f), quotient));  // past it with subnormal scales only
      const IntVec codes = has_codes ? (IntVec)(bounded + kRounds) - 0x4b400000 : IntVec{};
      const SignedByteVec bytes = __builtin_convertvector(codes, SignedByteVec);
      std::memcpy(to + i, &bytes, sizeof bytes);
    }
    return scale;
  }
};

}  // namespace octavo::OCTAVO_ISA

// Integer dot products of unsigned weight codes with signed 8-bit activations, lanes along the columns. For linear_cpu.cc alone.
//
// RunDot<nibbles> adds up words of a run of at most 32 k:
//   Codes decode(word)            a panel word (panel_layout.h) as bytes, four consecutive k of a column in each lane
//   add(sum, codes, x)            sum += codes . x[0 .. 8 or 4)
//   IntVec total(sum)             of (code - kCodeOffset) . x
//   Sum start(x)                  nothing yet: zero, or what stands before the activations of the run
//   void pin(sum)                 keeps a sum in its register between steps
// kCodeOffset is 128 where the instruction wants signed codes; the caller adds what it takes away.
#pragma once
#include "ops/linear/cpu/decode_cpu.h"

namespace octavo::OCTAVO_ISA {

// Four bytes of activations in every lane.
OCTAVO_VEC WordVec broadcast_word(const void* x) {
  std::uint32_t word;
  std::memcpy(&word, x, sizeof word);
  return word - WordVec{};
}

struct Nibbles {
  WordVec low, high;
};
OCTAVO_VEC Nibbles split_nibbles(WordVec word) { return {word & 0x0f0f0f0fu, (word >> 4) & 0x0f0f0f0fu}; }

#if defined(__AVX2__) && !defined(__AVX512VNNI__)
#define OCTAVO_PAIR_DOTS 1

// vpmaddubsw makes 16-bit sums, in which a run of nibbles fits: 8 words * 2 products * 15 * 127 = 30,480. Codes of 8 bits are
// two runs of nibbles.
typedef std::int16_t PairVec __attribute__((vector_size(kLanes * 4)));

OCTAVO_VEC PairVec add_pairs(PairVec sum, WordVec codes, WordVec x) {
  return sum + (PairVec)_mm256_maddubs_epi16((__m256i)codes, (__m256i)x);
}
OCTAVO_VEC IntVec add_neighbours(PairVec sum, short factor) { return (IntVec)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(factor)); }

template <bool kNibbles>
struct RunDot {
  static constexpr int kStart = 0;
  static constexpr int kCodeOffset = 0;
  typedef std::int8_t Activation;
  typedef Nibbles Codes;
  struct Sum {
    PairVec low, high;  // high: of the upper four bits of 8-bit codes
  };
  OCTAVO_VEC Sum start(const std::int8_t*) { return Sum{}; }
  OCTAVO_VEC Codes decode(WordVec word) { return split_nibbles(word); }
  OCTAVO_VEC void add(Sum& sum, Codes codes, const std::int8_t* x) {
    const WordVec first = broadcast_word(x);
    sum.low = add_pairs(sum.low, codes.low, first);
    if (kNibbles) {
      sum.low = add_pairs(sum.low, codes.high, broadcast_word(x + 4));
    } else {
      sum.high = add_pairs(sum.high, codes.high, first);
    }
  }
  OCTAVO_VEC void pin(Sum& sum) {
    asm("" : "+x"(sum.low));
    if (!kNibbles) asm("" : "+x"(sum.high));
  }
  OCTAVO_VEC IntVec total(Sum sum) {
    return kNibbles ? add_neighbours(sum.low, 1) : add_neighbours(sum.low, 1) + add_neighbours(sum.high, 16);
  }
};

// Codes of 8 bits and activations of 16, two of each in a lane.
struct WideDot {
  static constexpr int kStart = 2;  // elements before the activations of a run: an integer that its sum starts with
  typedef std::int16_t Activation;
  typedef WordVec Codes;
  typedef IntVec Sum;
  OCTAVO_VEC Sum start(const std::int16_t* x) { return (Sum)broadcast_word(x); }
  OCTAVO_VEC Codes even(WordVec word) { return word & 0x00ff00ffu; }
  OCTAVO_VEC Codes odd(WordVec word) { return (WordVec)_mm256_srli_epi16((__m256i)word, 8); }
  OCTAVO_VEC void add(Sum& sum, Codes codes, const std::int16_t* x) {
    sum += (IntVec)_mm256_madd_epi16((__m256i)codes, (__m256i)broadcast_word(x));
  }
  OCTAVO_VEC void pin(Sum& sum) { asm("" : "+x"(sum)); }

  // The activations of a run: first those that meet even codes, then those that meet odd ones.
  template <int kDepth>
  OCTAVO_VEC void widen(const std::int8_t* x, std::int16_t* to) {
    typedef std::int16_t Shorts __attribute__((vector_size(kDepth)));
    Shorts pairs;
    std::memcpy(&pairs, x, sizeof pairs);
    const Shorts even = (pairs << 8) >> 8, odd = pairs >> 8;
    std::memcpy(to, &even, sizeof even);
    std::memcpy(to + kDepth / 2, &odd, sizeof odd);
  }
};

#else

#if defined(__AVX512VNNI__)
constexpr int kByteOffset = 0;
OCTAVO_VEC IntVec add_four(IntVec sum, WordVec codes, WordVec x) {
  return (IntVec)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)codes, (__m512i)x);
}
#elif defined(OCTAVO_NEON) && defined(__ARM_FEATURE_DOTPROD)
constexpr int kByteOffset = 128;
OCTAVO_VEC IntVec add_four(IntVec sum, WordVec codes, WordVec x) {
  return (IntVec)vdotq_s32((int32x4_t)sum, (int8x16_t)codes, (int8x16_t)x);
}
#elif defined(OCTAVO_NEON)
constexpr int kByteOffset = 128;  // two products of signed bytes fit 16 bits: 2 * 128 * 127 < 2^15
OCTAVO_VEC IntVec add_four(IntVec sum, WordVec codes, WordVec x) {
  const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)codes), vget_low_s8((int8x16_t)x));
  const int16x8_t high = vmull_s8(vget_high_s8((int8x16_t)codes), vget_high_s8((int8x16_t)x));
  return (IntVec)vpadalq_s16((int32x4_t)sum, vpaddq_s16(low, high));
}
#else
constexpr int kByteOffset = 0;
OCTAVO_VEC IntVec add_four(IntVec sum, WordVec codes, WordVec x) {
  for (int byte = 0; byte < 4; ++byte) sum += (IntVec)((codes >> (8 * byte)) & 255u) * ((IntVec)(x << (24 - 8 * byte)) >> 24);
  return sum;
}
#endif

template <bool kNibbles>
struct RunDot;

template <>
struct RunDot<true> {
  static constexpr int kStart = 0;
  static constexpr int kCodeOffset = 0;
  typedef std::int8_t Activation;
  typedef Nibbles Codes;
  typedef IntVec Sum;
  OCTAVO_VEC Sum start(const std::int8_t*) { return Sum{}; }
  OCTAVO_VEC Codes decode(WordVec word) { return split_nibbles(word); }
  OCTAVO_VEC void add(Sum& sum, Codes codes, const std::int8_t* x) {
    sum = add_four(add_four(sum, codes.low, broadcast_word(x)), codes.high, broadcast_word(x + 4));
  }
  OCTAVO_VEC void pin(Sum&) {}
  OCTAVO_VEC IntVec total(Sum sum) { return sum; }
};

template <>
struct RunDot<false> {
  static constexpr int kStart = 0;
  static constexpr int kCodeOffset = kByteOffset;
  typedef std::int8_t Activation;
  typedef WordVec Codes;
  typedef IntVec Sum;
  OCTAVO_VEC Sum start(const std::int8_t*) { return Sum{}; }
  OCTAVO_VEC Codes decode(WordVec word) { return kByteOffset ? word ^ 0x80808080u : word; }
  OCTAVO_VEC void add(Sum& sum, Codes codes, const std::int8_t* x) { sum = add_four(sum, codes, broadcast_word(x)); }
  OCTAVO_VEC void pin(Sum&) {}
  OCTAVO_VEC IntVec total(Sum sum) { return sum; }
};

#endif

}  // namespace octavo::OCTAVO_ISA

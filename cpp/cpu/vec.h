// Vectors of the instruction set this file is compiled for. Include it only from ops/<op>/<op>_cpu.cc.
//
// One source serves every processor: `Vec` is a GCC/Clang vector type of the widest native width, so +, -, *, comparisons and
// lane access are the compiler's; what it cannot be trusted with (fused multiply-add, conversions of packed integers and
// half floats, horizontal maxima) is a function here. Everything is in namespace octavo::OCTAVO_ISA, one copy per instruction
// set, and static: nothing inline leaks into another copy. Kernel files use no std:: templates for the same reason.
//
// Arithmetic is IEEE float32 in the order written (-ffp-contract=off); fma() is fused, except that the portable copy multiplies
// and adds, even where the compiler's baseline has vectors. So results are equal bit by bit within one instruction set, not across two.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON) && !defined(OCTAVO_PORTABLE)
#include <arm_neon.h>
#define OCTAVO_NEON 1
#elif defined(__VSX__) && !defined(OCTAVO_PORTABLE)
#define OCTAVO_VSX 1  // in assembly: compilers name their builtins differently, and altivec.h defines `vector`
#endif

#ifndef OCTAVO_ISA
#error "vec.h is for files that CMake compiles once per instruction set (octavo_isa_library)"
#endif

namespace octavo::OCTAVO_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(kLanes * 4)));
typedef std::int32_t IntVec __attribute__((vector_size(kLanes * 4), aligned(kLanes * 4)));
typedef std::uint8_t ByteVec __attribute__((vector_size(kLanes)));
typedef std::int8_t SignedByteVec __attribute__((vector_size(kLanes)));
typedef std::uint16_t HalfVec __attribute__((vector_size(kLanes * 2)));

#define OCTAVO_VEC static inline __attribute__((always_inline, unused))

OCTAVO_VEC Vec load(const float* from) {
  Vec value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
OCTAVO_VEC void store(float* to, Vec value) { std::memcpy(to, &value, sizeof value); }
OCTAVO_VEC Vec broadcast(float value) { return value - Vec{}; }  // x - 0 keeps the sign of zero
OCTAVO_VEC Vec zero() { return Vec{}; }

// a * b + c, rounded once (portable: twice).
OCTAVO_VEC Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(OCTAVO_NEON)
  return (Vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(OCTAVO_VSX)
  asm("xvmaddasp %x0, %x1, %x2" : "+wa"(c) : "wa"(a), "wa"(b));
  return c;
#else
  return a * b + c;
#endif
}

OCTAVO_VEC Vec max(Vec a, Vec b) { return a > b ? a : b; }
OCTAVO_VEC Vec min(Vec a, Vec b) { return a < b ? a : b; }
OCTAVO_VEC Vec abs(Vec value) { return (Vec)((IntVec)value & 0x7fffffff); }

OCTAVO_VEC Vec to_float(IntVec value) { return __builtin_convertvector(value, Vec); }

// The nearest integers, ties to even, for |value| < 2^22: adding 1.5 * 2^23 leaves them in the lowest bits.
OCTAVO_VEC IntVec round_to_int(Vec value) {
  const Vec magic = broadcast(12582912.0f);
  return (IntVec)(value + magic) - (IntVec)magic;
}

// The lowest byte of each lane.
OCTAVO_VEC void store_i8(std::int8_t* to, IntVec value) {
  const SignedByteVec bytes = __builtin_convertvector(value, SignedByteVec);
  std::memcpy(to, &bytes, sizeof bytes);
}

// kLanes bytes as unsigned, or signed, integers.
OCTAVO_VEC IntVec load_u8(const std::uint8_t* from) {
#if defined(__AVX512F__)
  return (IntVec)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__AVX2__)
  return (IntVec)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  ByteVec bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, IntVec);
#endif
}
OCTAVO_VEC IntVec load_i8(const std::int8_t* from) {
#if defined(__AVX512F__)
  return (IntVec)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__AVX2__)
  return (IntVec)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
#else
  SignedByteVec bytes;
  std::memcpy(&bytes, from, sizeof bytes);
  return __builtin_convertvector(bytes, IntVec);
#endif
}

// kLanes IEEE half floats.
OCTAVO_VEC Vec load_f16(const std::uint16_t* from) {
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__AVX2__)
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(OCTAVO_NEON)
  return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#elif defined(OCTAVO_VSX)
  HalfVec halves;
  std::memcpy(&halves, from, sizeof halves);
  const IntVec wide = __builtin_convertvector(halves, IntVec);
  Vec value;
  asm("xvcvhpsp %x0, %x1" : "=wa"(value) : "wa"(wide));
  return value;
#else
  HalfVec halves;
  std::memcpy(&halves, from, sizeof halves);
  const IntVec bits = __builtin_convertvector(halves, IntVec), size = bits & 0x7fff;
  const IntVec value = (IntVec)((Vec)(size << 13) * 5.192296858534828e33f);  // 2^112: exponents of 5 bits become those of 8, exactly
  return (Vec)((size >= 0x7c00 ? value | 0x7f800000 : value) | ((bits & 0x8000) << 16));
#endif
}

// kLanes bfloat16: the upper halves of float32.
OCTAVO_VEC Vec load_bf16(const std::uint16_t* from) {
#if defined(__AVX512F__)
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return (Vec)_mm512_slli_epi32(wide, 16);
#elif defined(__AVX2__)
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  return (Vec)_mm256_slli_epi32(wide, 16);
#else
  HalfVec halves;
  std::memcpy(&halves, from, sizeof halves);
  return (Vec)(__builtin_convertvector(halves, IntVec) << 16);
#endif
}

// Lanes added as a balanced tree, in an order that depends on nothing but kLanes.
OCTAVO_VEC float sum_of(Vec value) {
  float lanes[kLanes];
  std::memcpy(lanes, &value, sizeof lanes);
  for (int width = kLanes / 2; width; width /= 2) {
    for (int lane = 0; lane < width; ++lane) lanes[lane] += lanes[lane + width];
  }
  return lanes[0];
}
OCTAVO_VEC float max_of(Vec value) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)value);
#elif defined(__AVX2__)
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128((__m256)value), _mm256_extractf128_ps((__m256)value, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
  float best = value[0];
  for (int lane = 1; lane < kLanes; ++lane) best = value[lane] > best ? value[lane] : best;
  return best;
#endif
}
OCTAVO_VEC std::int32_t sum_of(IntVec value) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_epi32((__m512i)value);
#elif defined(__AVX2__)
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128((__m256i)value), _mm256_extracti128_si256((__m256i)value, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
#else
  std::int32_t sum = 0;
  for (int lane = 0; lane < kLanes; ++lane) sum += value[lane];
  return sum;
#endif
}

// e^x, within 2 ulp for -87 <= x <= 88; 0 below, so that exp(-inf) is 0; saturates above. After Cephes' expf.
OCTAVO_VEC Vec exp(Vec x) {
  const Vec clamped = min(broadcast(88.37626f), max(broadcast(-87.33654f), x));  // in this order NaN stays NaN
  const IntVec n =
      __builtin_convertvector(fma(clamped, broadcast(1.44269504088896341f), clamped < 0.0f ? broadcast(-0.5f) : broadcast(0.5f)), IntVec);
  const Vec steps = to_float(n);
  Vec r = fma(steps, broadcast(-0.693359375f), clamped);
  r = fma(steps, broadcast(2.12194440e-4f), r);
  Vec p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, r * r, r + 1.0f);
  const Vec scaled = p * (Vec)((n + 127) << 23);
  return x < -87.33654f ? zero() : scaled;
}

}  // namespace octavo::OCTAVO_ISA

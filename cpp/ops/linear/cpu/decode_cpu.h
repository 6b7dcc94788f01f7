// Decoders of packed blocks (panel_layout.h): from words to vectors of weights, lanes along the columns. For linear_cpu.cc alone.
//
// A decoder has kBlock (values of k per block), kBlockBytes (of the panel), kPerWord (values of k per word), and
//   Scales load_scales(block, vec, task)         what vector `vec` of the panel needs throughout the block
//   Word load_word(block, index, vec)            word `index` of the block: k = index * kPerWord ...
//   Vec weight<J>(word, scales)                  the weights of k = index * kPerWord + J
#pragma once
#include "cpu/vec.h"
#include "ops/linear/linear_kernels.h"

namespace octavo::OCTAVO_ISA {

constexpr int kPanelVecs = 2;
constexpr int kPanelWidth = kPanelVecs * kLanes;

typedef std::uint32_t WordVec __attribute__((vector_size(kLanes * 4), aligned(kLanes * 4)));

OCTAVO_VEC WordVec load_words(const std::uint8_t* from) {
  WordVec words;
  std::memcpy(&words, from, sizeof words);
  return words;
}

OCTAVO_VEC WordVec load_panel_words(const std::uint8_t* block, int index, int vec) {
  return load_words(block + (index * kPanelWidth + vec * kLanes) * 4);
}

struct NoScales {};

struct F32Decoder {
  static constexpr int kBlock = 1, kPerWord = 1, kBlockBytes = 4 * kPanelWidth;
  typedef NoScales Scales;
  typedef WordVec Word;
  OCTAVO_VEC Scales load_scales(const std::uint8_t*, int, const LinearTask&) { return {}; }
  OCTAVO_VEC Word load_word(const std::uint8_t* block, int index, int vec) { return load_panel_words(block, index, vec); }
  template <int J>
  OCTAVO_VEC Vec weight(Word word, Scales) {
    return (Vec)word;
  }
};

struct F16Decoder {
  static constexpr int kBlock = 1, kPerWord = 1, kBlockBytes = 2 * kPanelWidth;
  typedef NoScales Scales;
  typedef Vec Word;
  OCTAVO_VEC Scales load_scales(const std::uint8_t*, int, const LinearTask&) { return {}; }
  OCTAVO_VEC Word load_word(const std::uint8_t* block, int, int vec) {
    return load_f16(reinterpret_cast<const std::uint16_t*>(block) + vec * kLanes);
  }
  template <int J>
  OCTAVO_VEC Vec weight(Word word, Scales) {
    return word;
  }
};

struct Bf16Decoder {
  static constexpr int kBlock = 2, kPerWord = 2, kBlockBytes = 4 * kPanelWidth;
  typedef NoScales Scales;
  typedef WordVec Word;
  OCTAVO_VEC Scales load_scales(const std::uint8_t*, int, const LinearTask&) { return {}; }
  OCTAVO_VEC Word load_word(const std::uint8_t* block, int index, int vec) { return load_panel_words(block, index, vec); }
  template <int J>
  OCTAVO_VEC Vec weight(Word word, Scales) {
    return (Vec)(J == 0 ? word << 16 : word & 0xffff0000u);
  }
};

#if defined(__AVX2__) || defined(__AVX512F__) || defined(OCTAVO_NEON)
#define OCTAVO_BYTE_SHUFFLES 1

#if defined(__AVX512F__)
OCTAVO_VEC WordVec repeat_16_bytes(const std::uint8_t* from) {
  return (WordVec)_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
OCTAVO_VEC WordVec look_up(WordVec table, WordVec codes) { return (WordVec)_mm512_shuffle_epi8((__m512i)table, (__m512i)codes); }
OCTAVO_VEC WordVec interleave_low(WordVec a, WordVec b) { return (WordVec)_mm512_unpacklo_epi8((__m512i)a, (__m512i)b); }
OCTAVO_VEC WordVec interleave_high(WordVec a, WordVec b) { return (WordVec)_mm512_unpackhi_epi8((__m512i)a, (__m512i)b); }
#elif defined(__AVX2__)
OCTAVO_VEC WordVec repeat_16_bytes(const std::uint8_t* from) {
  return (WordVec)_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
OCTAVO_VEC WordVec look_up(WordVec table, WordVec codes) { return (WordVec)_mm256_shuffle_epi8((__m256i)table, (__m256i)codes); }
OCTAVO_VEC WordVec interleave_low(WordVec a, WordVec b) { return (WordVec)_mm256_unpacklo_epi8((__m256i)a, (__m256i)b); }
OCTAVO_VEC WordVec interleave_high(WordVec a, WordVec b) { return (WordVec)_mm256_unpackhi_epi8((__m256i)a, (__m256i)b); }
#else
OCTAVO_VEC WordVec repeat_16_bytes(const std::uint8_t* from) { return load_words(from); }
OCTAVO_VEC WordVec look_up(WordVec table, WordVec codes) { return (WordVec)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)codes); }
OCTAVO_VEC WordVec interleave_low(WordVec a, WordVec b) { return (WordVec)vzip1q_u8((uint8x16_t)a, (uint8x16_t)b); }
OCTAVO_VEC WordVec interleave_high(WordVec a, WordVec b) { return (WordVec)vzip2q_u8((uint8x16_t)a, (uint8x16_t)b); }
#endif

// Its scales are the table of upper bytes, once in every 16 bytes. Exceptions are the caller's to put in (exceptions_cpu.h).
struct Bf16CompactDecoder {
  static constexpr int kBlock = 8, kPerWord = 8, kBlockBytes = 12 * kPanelWidth;
  typedef WordVec Scales;
  struct Word {
    WordVec lower[2], codes;
  };
  OCTAVO_VEC Scales load_scales(const std::uint8_t*, int, const LinearTask& task) { return repeat_16_bytes(task.upper_bytes); }
  OCTAVO_VEC Word load_word(const std::uint8_t* block, int, int vec) {
    return {{load_panel_words(block, 0, vec), load_panel_words(block, 1, vec)}, load_panel_words(block, 2, vec)};
  }
  // k = J and J + 1 as in Packing::bf16, J even.
  template <int J>
  OCTAVO_VEC WordVec pair(const Word& word, Scales upper_bytes) {
    const WordVec upper = look_up(upper_bytes, (J < 4 ? word.codes : word.codes >> 4) & 0x0f0f0f0fu);
    return J % 4 < 2 ? interleave_low(word.lower[J / 4], upper) : interleave_high(word.lower[J / 4], upper);
  }
  template <int J>
  OCTAVO_VEC Vec weight(const Word& word, Scales upper_bytes) {
    return Bf16Decoder::weight<J % 2>(pair<J / 2 * 2>(word, upper_bytes), {});
  }
};
#endif

// The lowest nibble of each word as a float; what is above it is ignored.
OCTAVO_VEC Vec float_from_nibble(WordVec words) {
#if defined(__AVX512F__)  // a table look-up by the lowest four bits: one instruction for mask and conversion
  const __m512 values = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  return (Vec)_mm512_permutexvar_ps((__m512i)words, values);
#else
  return to_float((IntVec)(words & 15u));
#endif
}

struct ScaleAndMin {
  Vec scale;
  Vec min;
};

template <Packing P>
OCTAVO_VEC Vec load_scale(const std::uint8_t* block, int index, int vec) {
  constexpr BlockShape shape = block_shape(P);
  const std::uint8_t* from = block + shape.code_bytes * kPanelWidth + (index * kPanelWidth + vec * kLanes) * shape.scale_bytes;
  if (shape.scale_bytes == 2) return load_f16(reinterpret_cast<const std::uint16_t*>(from));
  return load(reinterpret_cast<const float*>(from));
}

template <Packing P>
struct CodeDecoder {
  static constexpr BlockShape kShape = block_shape(P);
  static constexpr bool kNibbles = kShape.code_bytes * 2 == kShape.depth;
  static constexpr int kBlock = kShape.depth, kPerWord = kNibbles ? 8 : 4, kBlockBytes = block_bytes_per_column(P) * kPanelWidth;
  typedef ScaleAndMin Scales;
  typedef WordVec Word;
  OCTAVO_VEC Scales load_scales(const std::uint8_t* block, int vec, const LinearTask& task) {
    const Vec scale = load_scale<P>(block, 0, vec);
    return {scale, kShape.num_scales == 2 ? load_scale<P>(block, 1, vec) : scale * broadcast(-task.zero_point)};
  }
  OCTAVO_VEC Word load_word(const std::uint8_t* block, int index, int vec) { return load_panel_words(block, index, vec); }
  template <int J>
  OCTAVO_VEC Vec weight(Word word, Scales scales) {
    const WordVec shifted = word >> (kNibbles ? J % 4 * 8 + J / 4 * 4 : J * 8);
    const Vec codes = kNibbles ? float_from_nibble(shifted) : to_float((IntVec)(shifted & 255u));
    return fma(codes, scales.scale, scales.min);
  }
};

// Prefetches are spread over a block's words: many at once would fill the queue of cache misses and stall.
template <typename Decoder>
constexpr int kShareBytes = Decoder::kBlockBytes * Decoder::kPerWord / Decoder::kBlock;

OCTAVO_VEC void prefetch(const std::uint8_t* from, int num_bytes) {
  for (int offset = 0; offset < num_bytes; offset += 64) __builtin_prefetch(from + offset);
}

template <typename Decoder, int J = 0>
OCTAVO_VEC void decode_word(typename Decoder::Word word, typename Decoder::Scales scales, float* to) {
  if constexpr (J < Decoder::kPerWord) {
    store(to + J * kPanelWidth, Decoder::template weight<J>(word, scales));
    decode_word<Decoder, J + 1>(word, scales, to);
  }
}

// [depth][kPanelWidth] weights from the blocks that hold them; whole blocks, so perhaps a few k more than asked for.
template <typename Decoder>
static void decode_tile(const std::uint8_t* block, int depth, const LinearTask& task, float* to) {
  for (int k = 0; k < depth; k += Decoder::kBlock, block += Decoder::kBlockBytes) {
    for (int vec = 0; vec < kPanelVecs; ++vec) {
      const typename Decoder::Scales scales = Decoder::load_scales(block, vec, task);
      for (int index = 0; index * Decoder::kPerWord < Decoder::kBlock; ++index) {
        float* at = to + (k + index * Decoder::kPerWord) * kPanelWidth + vec * kLanes;
        decode_word<Decoder>(Decoder::load_word(block, index, vec), scales, at);
      }
    }
  }
}

}  // namespace octavo::OCTAVO_ISA

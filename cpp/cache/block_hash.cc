#include "cache/block_hash.h"

#include <cstring>

namespace octavo::cache {

namespace {

constexpr std::size_t kWordBytes = sizeof(std::uint64_t);
constexpr int kCompressionRounds = 2;
constexpr int kFinalRounds = 4;

std::uint64_t rotate_left(std::uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }

// SplitMix64 (Steele, Lea & Flood, OOPSLA 2014): spreads one seed over the key words.
std::uint64_t next_key_word(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15u;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

SipKey next_key(std::uint64_t& state) {
  const std::uint64_t k0 = next_key_word(state);
  return {k0, next_key_word(state)};
}

}  // namespace

SipHash128::SipHash128(const SipKey& key)
    : v0_(key.k0 ^ 0x736f6d6570736575u),
      v1_(key.k1 ^ 0x646f72616e646f6du ^ 0xeeu),
      v2_(key.k0 ^ 0x6c7967656e657261u),
      v3_(key.k1 ^ 0x7465646279746573u) {}

void SipHash128::rounds(int count) {
  for (int i = 0; i < count; ++i) {
    v0_ += v1_;
    v2_ += v3_;
    v1_ = rotate_left(v1_, 13) ^ v0_;
    v3_ = rotate_left(v3_, 16) ^ v2_;
    v0_ = rotate_left(v0_, 32) + v3_;
    v2_ += v1_;
    v1_ = rotate_left(v1_, 17) ^ v2_;
    v3_ = rotate_left(v3_, 21) ^ v0_;
    v2_ = rotate_left(v2_, 32);
  }
}

void SipHash128::absorb(std::uint64_t word) {
  v3_ ^= word;
  rounds(kCompressionRounds);
  v0_ ^= word;
  size_ += kWordBytes;
}

BlockHash SipHash128::finish(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  const std::uint64_t total = size_ + size;
  for (; size >= kWordBytes; bytes += kWordBytes, size -= kWordBytes) {
    std::uint64_t word;
    std::memcpy(&word, bytes, kWordBytes);
    absorb(word);
  }
  std::uint64_t last = total << 56;
  for (std::size_t i = 0; i < size; ++i) last |= std::uint64_t{bytes[i]} << (8 * i);
  absorb(last);

  BlockHash hash;
  v2_ ^= 0xeeu;
  rounds(kFinalRounds);
  hash.low = v0_ ^ v1_ ^ v2_ ^ v3_;
  v1_ ^= 0xddu;
  rounds(kFinalRounds);
  hash.high = v0_ ^ v1_ ^ v2_ ^ v3_;
  return hash;
}

BlockHasher::BlockHasher(std::uint64_t seed) : root_key_(next_key(seed)), block_key_(next_key(seed)) {}

BlockHash BlockHasher::root(std::string_view extras) const { return SipHash128(root_key_).finish(extras.data(), extras.size()); }

BlockHash BlockHasher::block(const BlockHash& parent, const std::int32_t* token_ids, std::size_t num_tokens) const {
  SipHash128 sip(block_key_);
  sip.absorb(parent.low);
  sip.absorb(parent.high);
  return sip.finish(token_ids, num_tokens * sizeof(*token_ids));
}

}  // namespace octavo::cache

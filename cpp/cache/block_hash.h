// The identity of a full block: 128 bits over everything that its K and V depend on.
//
//   root         = SipHash(root key,  extras)                      extras: adapter, media, salt
//   block hash   = SipHash(block key, parent hash | token ids)     parent of the first block: root
//
// The hash is keyed, with keys drawn from a seed of the process, because prompts come from strangers: without the seed nobody
// can build two prompts whose blocks collide. Equal hashes are therefore taken for equal content, without comparing tokens.
//
// SipHash-2-4 with 128 bits of output: Aumasson & Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012; the wide output
// is the variant of the authors' reference implementation. Words are read in the machine's order: hashes never leave the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace octavo::cache {

struct BlockHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend bool operator==(const BlockHash& a, const BlockHash& b) { return a.low == b.low && a.high == b.high; }
  friend bool operator!=(const BlockHash& a, const BlockHash& b) { return !(a == b); }
};

struct SipKey {
  std::uint64_t k0;
  std::uint64_t k1;
};

// One hash computation: whole words first, then `finish` with the rest of the message.
class SipHash128 {
 public:
  explicit SipHash128(const SipKey& key);
  void absorb(std::uint64_t word);
  BlockHash finish(const void* data, std::size_t size);

 private:
  void rounds(int count);

  std::uint64_t v0_, v1_, v2_, v3_;
  std::uint64_t size_ = 0;  // bytes absorbed
};

class BlockHasher {
 public:
  explicit BlockHasher(std::uint64_t seed);
  BlockHash root(std::string_view extras) const;
  BlockHash block(const BlockHash& parent, const std::int32_t* token_ids, std::size_t num_tokens) const;

 private:
  SipKey root_key_;
  SipKey block_key_;
};

}  // namespace octavo::cache

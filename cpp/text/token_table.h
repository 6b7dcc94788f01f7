// The bytes of every token of a vocabulary. Immutable; shared by the detokenizers of all sequences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::text {

class TokenTable {
 public:
  // pieces[id]: the bytes that the token stands for. strip_leading_space: a text's first space is an artefact of the vocabulary.
  // Throws std::invalid_argument naming a special id that is not in the vocabulary.
  TokenTable(const std::vector<std::string_view>& pieces, const std::vector<std::int32_t>& special_ids, bool strip_leading_space);

  std::size_t size() const { return is_special_.size(); }
  bool strip_leading_space() const { return strip_leading_space_; }
  // Throws std::invalid_argument naming the id where the vocabulary lacks it.
  void check(std::int32_t token_id) const;
  // Of an id that `check` accepts.
  bool is_special(std::int32_t token_id) const { return is_special_[token_id]; }
  std::string_view piece(std::int32_t token_id) const {
    return std::string_view(bytes_).substr(indptr_[token_id], indptr_[token_id + 1] - indptr_[token_id]);
  }

 private:
  std::string bytes_;                // of all pieces, one after another
  std::vector<std::size_t> indptr_;  // [size + 1]
  std::vector<bool> is_special_;     // [size]
  bool strip_leading_space_;
};

}  // namespace octavo::text

// Token ids to text of one sequence, incrementally: the text never ends inside a character.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/token_table.h"
#include "text/utf8_decoder.h"

namespace octavo::text {

class Detokenizer {
 public:
  Detokenizer(std::shared_ptr<const TokenTable> table, bool skip_special_tokens);

  // New text, UTF-8. Throws std::invalid_argument, taking no token, where the vocabulary lacks an id.
  std::string push(const std::vector<std::int32_t>& token_ids);
  // What is still held back, as U+FFFD; the detokenizer is as new.
  std::string finish();

 private:
  std::string_view shown(std::int32_t token_id);

  std::shared_ptr<const TokenTable> table_;
  bool skip_special_tokens_;
  bool at_start_ = true;  // no byte of the text is known yet
  Utf8Decoder decoder_;
};

}  // namespace octavo::text

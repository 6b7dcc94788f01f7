#include "text/detokenizer.h"

#include <utility>

#include "base/error.h"

namespace octavo::text {

Detokenizer::Detokenizer(std::shared_ptr<const TokenTable> table, bool skip_special_tokens)
    : table_(std::move(table)), skip_special_tokens_(skip_special_tokens) {
  require(table_ != nullptr, "table is None; a detokenizer needs the vocabulary's bytes");
}

std::string Detokenizer::push(const std::vector<std::int32_t>& token_ids) {
  for (const std::int32_t id : token_ids) table_->check(id);
  std::string text;
  for (const std::int32_t id : token_ids) decoder_.push(shown(id), text);
  return text;
}

std::string Detokenizer::finish() {
  std::string text;
  decoder_.finish(text);
  at_start_ = true;
  return text;
}

// The bytes of the text that the token brings.
std::string_view Detokenizer::shown(std::int32_t token_id) {
  if (skip_special_tokens_ && table_->is_special(token_id)) return {};
  std::string_view piece = table_->piece(token_id);
  if (at_start_ && !piece.empty()) {
    at_start_ = false;
    if (table_->strip_leading_space() && piece.front() == ' ') piece.remove_prefix(1);
  }
  return piece;
}

}  // namespace octavo::text

#include "text/token_table.h"

#include "base/error.h"

namespace octavo::text {

TokenTable::TokenTable(const std::vector<std::string_view>& pieces, const std::vector<std::int32_t>& special_ids, bool strip_leading_space)
    : is_special_(pieces.size()), strip_leading_space_(strip_leading_space) {
  indptr_.reserve(pieces.size() + 1);
  indptr_.push_back(0);
  for (const std::string_view piece : pieces) {
    bytes_.append(piece);
    indptr_.push_back(bytes_.size());
  }
  for (const std::int32_t id : special_ids) {
    check(id);
    is_special_[id] = true;
  }
}

void TokenTable::check(std::int32_t token_id) const {
  require(token_id >= 0 && static_cast<std::size_t>(token_id) < size(), "token id ", token_id, " is not in the vocabulary of ", size(),
          " tokens; a vocabulary padded to the model's size needs a piece for each id");
}

}  // namespace octavo::text

// A row's lists (biases, masks, bad words, tail) as one block of int32 for the device.
#pragma once
#include <cstdint>
#include <vector>

#include "base/tensor_view.h"
#include "sampling/device_row.h"
#include "sampling/row_sampling.h"

namespace octavo {

// The block, laid out for parameters whose pointers count from its start; see place().
struct DeviceLists {
  std::vector<std::int32_t> words;
  device::RowParameters parameters;  // pointers are null until place()
  std::int32_t num_tail = 0;         // tokens of the row that the tail holds

  // Parameters whose lists lie at `base`, which holds `words`.
  device::RowParameters place(std::int32_t* base) const;

  std::int64_t bias_ids = 0, biases = 0, allowed = 0, blocked = 0, bad_word_indptr = 0, bad_words = 0, tail = 0;  // offsets
};

// token_ids: the row's tokens, of which the tail is kept.
DeviceLists device_lists(const RowSampling& sampling, Span<const std::int32_t> token_ids);

}  // namespace octavo

#include "weights/linear_weight.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "cpu/huge_pages.h"
#include "ops/linear/linear_kernels.h"
#include "weights/pack_panel.h"
#include "weights/quantized_group.h"

namespace octavo {
namespace {

struct RawRows {
  Format format;
  std::vector<const std::uint8_t*> rows;
};

void append_rows(RawRows& to, const LinearWeight::Part& part, std::int64_t cols) {
  const std::int64_t row_bytes = format_bytes(part.format, cols);
  for (std::int64_t row = 0; row < part.rows; ++row) to.rows.push_back(part.data + row * row_bytes);
}

// Neighbours of one format become one run of rows, so that their panels have no seams.
std::vector<RawRows> merge(const std::vector<LinearWeight::Part>& parts, std::int64_t cols) {
  std::vector<RawRows> merged;
  for (const LinearWeight::Part& part : parts) {
    require(part.rows > 0, "linear weight: a part has ", part.rows, " rows; it needs at least one");
    require(cols % block_elements(part.format) == 0, "linear weight: ", cols, " columns are not whole blocks of ",
            block_elements(part.format), " (", name_of(part.format), ")");
    if (merged.empty() || merged.back().format != part.format) merged.push_back({part.format, {}});
    append_rows(merged.back(), part, cols);
  }
  return merged;
}

// Packs what is bfloat16 into 12 bits where that suits the weights; null where it does not, or where no kernel reads them.
std::shared_ptr<CompactBf16> choose_compact(const RawRows& raw, std::int64_t cols, const LinearKernels& kernels) {
  if (raw.format != Format::BF16 || !kernels.compute[static_cast<int>(Packing::bf16_compact)]) return nullptr;
  const std::optional<UpperBytes> upper_bytes = choose_upper_bytes(raw.rows, cols);
  return upper_bytes ? std::make_shared<CompactBf16>(CompactBf16{*upper_bytes, {}, {}}) : nullptr;
}

void pack_compact(const RawRows& raw, const LinearWeight::PackedPart& part, std::int64_t cols, int width, std::uint8_t* to,
                  CompactBf16& compact, cpu::ThreadPool& pool) {
  std::vector<std::vector<Bf16Exception>> exceptions(static_cast<std::size_t>(part.num_panels));
  pool.run(part.num_panels, [&](std::int64_t panel) {
    const std::int64_t first = panel * width;
    const int count = static_cast<int>(std::min<std::int64_t>(part.rows - first, width));
    pack_compact_bf16(raw.rows.data() + first, count, compact.upper_bytes, cols, width, to + panel * part.panel_bytes,
                      exceptions[static_cast<std::size_t>(panel)]);
  });
  compact.exceptions_indptr.push_back(0);
  for (const std::vector<Bf16Exception>& of_panel : exceptions) {
    compact.exceptions.insert(compact.exceptions.end(), of_panel.begin(), of_panel.end());
    compact.exceptions_indptr.push_back(static_cast<std::int64_t>(compact.exceptions.size()));
  }
}

void pack(const RawRows& raw, const LinearWeight::PackedPart& part, std::int64_t cols, int width, std::uint8_t* to, cpu::ThreadPool& pool) {
  pool.run(part.num_panels, [&](std::int64_t panel) {
    const std::int64_t first = panel * width;
    const std::int64_t count = part.rows - first < width ? part.rows - first : width;
    std::uint8_t* bytes = to + panel * part.panel_bytes;
    pack_panel(raw.rows.data() + first, static_cast<int>(count), raw.format, cols, width, bytes);
  });
}

}  // namespace

LinearWeight::LinearWeight(const std::vector<Part>& parts, std::int64_t cols, cpu::ThreadPool& pool, Arithmetic arithmetic)
    : isa_(cpu::active_isa()), cols_(cols) {
  require(!parts.empty(), "linear weight: there is no part");
  require(cols > 0, "linear weight: it has ", cols, " columns; it needs at least one");
  const LinearKernels& kernels = linear_kernels(isa_);
  const int width = kernels.panel_width;
  const std::vector<RawRows> merged = merge(parts, cols);
  std::vector<std::shared_ptr<CompactBf16>> compacts;
  for (const RawRows& raw : merged) {
    const auto rows = static_cast<std::int64_t>(raw.rows.size());
    const Arithmetic used = is_quantized(raw.format) ? arithmetic : Arithmetic::exact;
    const int zero_point = is_quantized(raw.format) ? group_reader(raw.format).zero_point : 0;
    compacts.push_back(choose_compact(raw, cols, kernels));
    const Packing packing = compacts.back() ? Packing::bf16_compact : packing_of(raw.format);
    const std::int64_t panel_bytes = packed_panel_bytes(packing, cols, width);
    packed_parts_.push_back({packing, used, zero_point, rows_, rows, panel_bytes, (rows + width - 1) / width, nullptr, compacts.back()});
    rows_ += rows;
    num_bytes_ += packed_parts_.back().num_panels * panel_bytes;
  }
  memory_ = cpu::huge_page_memory(num_bytes_);
  std::uint8_t* to = memory_.get();
  for (std::size_t i = 0; i < merged.size(); ++i) {
    PackedPart& part = packed_parts_[i];
    part.panels = to;
    if (compacts[i]) {
      pack_compact(merged[i], part, cols, width, to, *compacts[i], pool);
    } else {
      pack(merged[i], part, cols, width, to, pool);
    }
    to += part.num_panels * part.panel_bytes;
  }
}

bool LinearWeight::quantizes_activations() const {
  return std::any_of(packed_parts_.begin(), packed_parts_.end(),
                     [](const PackedPart& part) { return part.arithmetic == Arithmetic::int8; });
}

}  // namespace octavo

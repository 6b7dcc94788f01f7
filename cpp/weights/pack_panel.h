// Writes panels in the layout of panel_layout.h.
#pragma once
#include <cstdint>

#include "weights/format.h"
#include "weights/panel_layout.h"

namespace octavo {

Packing packing_of(Format format);
std::int64_t packed_panel_bytes(Packing packing, std::int64_t cols, int width);

// rows: `num_rows` <= width pointers to raw rows of `cols` elements. `panel` is zero before.
void pack_panel(const std::uint8_t* const* rows, int num_rows, Format format, std::int64_t cols, int width, std::uint8_t* panel);

}  // namespace octavo

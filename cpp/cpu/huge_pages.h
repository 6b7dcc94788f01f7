// Memory for what is read whole at every step: on pages of 2 MiB, because a processor remembers the places of few pages, and looking
// one up costs more than reading it, most of all in a virtual machine.
#pragma once
#include <cstdint>
#include <memory>

namespace octavo::cpu {

// num_bytes > 0 of zeros, aligned to 64. Pieces lie side by side in shared mappings; a mapping goes with its last piece. Where the
// system has no huge pages to give, ordinary ones serve. Throws std::bad_alloc.
std::shared_ptr<std::uint8_t> huge_page_memory(std::int64_t num_bytes);

}  // namespace octavo::cpu

// Which instruction set the kernels use: the best that this processor has, or what OCTAVO_ISA says.
#pragma once
#include <string>
#include <vector>

namespace octavo::cpu {

enum class Isa { portable, vsx, neon, neon_dot, avx2, avx512 };

const char* name_of(Isa isa);
Isa isa_from_name(const std::string& name);  // throws std::invalid_argument, listing the names that exist
const std::vector<Isa>& available_isas();    // built in and supported by this processor, best first
Isa active_isa();                            // throws std::invalid_argument when OCTAVO_ISA names one that is not available
void set_active_isa(Isa isa);

}  // namespace octavo::cpu

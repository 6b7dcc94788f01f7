// Where threads run and where their memory comes from, by the system calls of Linux; elsewhere asking for either is an error.
#pragma once
#include <vector>

namespace octavo::cpu {

using Cores = std::vector<int>;  // the system's numbers of logical processors

// Throws std::invalid_argument when `cores` is empty or has one that this process may not use.
void require_usable(const Cores& cores);

// Puts the calling thread on these usable cores.
void run_on(const Cores& cores);

// Pages that the calling thread, and threads it starts later, touch first come from NUMA node `node` and no other, mapped files
// that are not in the page cache yet included. Throws std::invalid_argument when the system refuses.
void bind_memory_to_node(int node);

}  // namespace octavo::cpu

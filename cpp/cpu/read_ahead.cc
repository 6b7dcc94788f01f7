#include "cpu/read_ahead.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace octavo::cpu {

ReadAhead ReadAhead::share(std::int64_t first, std::int64_t last, std::int64_t total) const {
  ReadAhead part = *this;
  part.begin = begin + (end - begin) * first / total;
  part.end = begin + (end - begin) * last / total;
  return part;
}

std::int64_t last_level_cache_bytes() {
  std::int64_t largest = 0;
  for (int index = 0;; ++index) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
    std::int64_t kib = 0;  // "32768K"
    if (!(file >> kib)) return largest;
    largest = std::max(largest, kib << 10);
  }
}

}  // namespace octavo::cpu

#include "cpu/huge_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <new>

namespace octavo::cpu {
namespace {

constexpr std::int64_t kAlignment = 64;
constexpr std::int64_t kHugePage = std::int64_t{2} << 20;
constexpr std::int64_t kMappingBytes = std::int64_t{64} << 20;  // of address space; memory is taken page by page as it is written

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

class Mapping {
 public:
  explicit Mapping(std::int64_t num_bytes) : num_bytes_(num_bytes + kHugePage) {
    void* memory =
        mmap(nullptr, static_cast<std::size_t>(num_bytes_), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<std::uint8_t*>(memory);
    const auto address = reinterpret_cast<std::uintptr_t>(memory_);
    next_ = memory_ + (round_up(static_cast<std::int64_t>(address), kHugePage) - static_cast<std::int64_t>(address));
    left_ = num_bytes;
#if defined(MADV_HUGEPAGE)
    madvise(next_, static_cast<std::size_t>(left_), MADV_HUGEPAGE);  // advice: refused, it changes nothing but the speed
#endif
  }
  ~Mapping() { munmap(memory_, static_cast<std::size_t>(num_bytes_)); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  // Null when it does not fit.
  std::uint8_t* take(std::int64_t num_bytes) {
    if (num_bytes > left_) return nullptr;
    std::uint8_t* piece = next_;
    next_ += num_bytes;
    left_ -= num_bytes;
    return piece;
  }

 private:
  std::uint8_t* memory_;
  std::int64_t num_bytes_;
  std::uint8_t* next_;
  std::int64_t left_;
};

}  // namespace

std::shared_ptr<std::uint8_t> huge_page_memory(std::int64_t num_bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Mapping> newest;
  const std::int64_t rounded = round_up(num_bytes, kAlignment);
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Mapping> mapping = newest.lock();
  std::uint8_t* piece = mapping ? mapping->take(rounded) : nullptr;
  if (!piece) {
    mapping = std::make_shared<Mapping>(std::max(kMappingBytes, round_up(rounded, kHugePage)));
    newest = mapping;
    piece = mapping->take(rounded);
  }
  return {mapping, piece};
}

}  // namespace octavo::cpu

// A fixed array of int32 that starts as zeros. Its pages take memory only once they are written: the system maps zero pages lazily.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace octavo::batch {

class ZeroedArray {
 public:
  // Throws std::bad_alloc.
  explicit ZeroedArray(std::size_t size) : data_(static_cast<std::int32_t*>(std::calloc(size, sizeof(std::int32_t)))) {
    if (!data_) throw std::bad_alloc();
  }

  std::int32_t* data() { return data_.get(); }
  const std::int32_t* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(std::int32_t* data) const { std::free(data); }
  };
  std::unique_ptr<std::int32_t[], Free> data_;
};

}  // namespace octavo::batch

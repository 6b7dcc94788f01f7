// Weights from the host's memory to the device's, through pinned memory that several threads fill.
#pragma once
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/dtype.h"
#include "cuda/memory.h"
#include "weights/format.h"

namespace octavo::cuda {

// A thread takes the next chunk, copies it into one of its two pinned buffers (converting it where the format is not the device's type)
// and queues the copy to the device on a stream of its own; while that copy runs it fills the other buffer.
class Uploader {
 public:
  Uploader(int device, int num_threads);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // count elements of `format` at `from` become elements of `type` at `to`, on the device. Returns when they are there.
  void upload(const std::uint8_t* from, Format format, std::int64_t count, void* to, DType type);

 private:
  struct Job {
    const std::uint8_t* from = nullptr;
    Format format = Format::F32;
    std::int64_t count = 0;
    unsigned char* to = nullptr;
    DType type = DType::f32;
  };
  void work(int device);
  void copy_chunks(const Job& job, std::vector<PinnedArray<unsigned char>>& buffers, std::vector<Mark>& marks, std::vector<float>& values,
                   Stream stream);

  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable started_, done_;
  Job job_;
  std::uint64_t number_ = 0;  // of the job
  int working_ = 0;
  bool stopping_ = false;
  std::atomic<std::int64_t> next_{0};  // element
  std::exception_ptr failure_;
};

}  // namespace octavo::cuda

#include "cuda/upload.h"

#include <algorithm>
#include <cstring>

#include "weights/dequantize.h"

namespace octavo::cuda {
namespace {

constexpr std::int64_t kChunkElements = std::int64_t{1} << 21;  // a multiple of every format's block
constexpr std::size_t kBufferBytes = kChunkElements * 4;

bool same_type(Format format, DType type) {
  return (format == Format::F32 && type == DType::f32) || (format == Format::F16 && type == DType::f16) ||
         (format == Format::BF16 && type == DType::bf16);
}

void narrow(const float* values, std::int64_t count, DType type, unsigned char* out) {
  if (type == DType::f32) {
    std::memcpy(out, values, static_cast<std::size_t>(count) * sizeof(float));
  } else if (type == DType::f16) {
    half* to = reinterpret_cast<half*>(out);
    for (std::int64_t i = 0; i < count; ++i) to[i] = __float2half_rn(values[i]);
  } else {
    bf16* to = reinterpret_cast<bf16*>(out);
    for (std::int64_t i = 0; i < count; ++i) to[i] = __float2bfloat16_rn(values[i]);
  }
}

}  // namespace

Uploader::Uploader(int device, int num_threads) {
  for (int i = 0; i < num_threads; ++i) threads_.emplace_back([this, device] { work(device); });
}

Uploader::~Uploader() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  started_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Uploader::upload(const std::uint8_t* from, Format format, std::int64_t count, void* to, DType type) {
  std::unique_lock lock(mutex_);
  job_ = {from, format, count, static_cast<unsigned char*>(to), type};
  next_ = 0;
  failure_ = nullptr;
  working_ = static_cast<int>(threads_.size());
  ++number_;
  started_.notify_all();
  done_.wait(lock, [this] { return working_ == 0; });
  if (failure_) std::rethrow_exception(failure_);
}

void Uploader::work(int device) {
  std::vector<PinnedArray<unsigned char>> buffers;
  std::vector<Mark> marks;
  std::vector<float> values;
  Stream stream = nullptr;
  std::uint64_t seen = 0;
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      started_.wait(lock, [&] { return stopping_ || number_ != seen; });
      if (stopping_) break;
      seen = number_;
      job = job_;
    }
    std::exception_ptr failure;
    try {
      if (!stream) {
        check(cudaSetDevice(device), "cudaSetDevice");
        check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
        for (int i = 0; i < 2; ++i) {
          buffers.push_back(pinned_array<unsigned char>(kBufferBytes, "pinned memory for weights"));
          marks.emplace_back();
        }
      }
      copy_chunks(job, buffers, marks, values, stream);
      check(cudaStreamSynchronize(stream), "a weight's copy to the GPU");
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    if (failure) failure_ = failure;
    if (--working_ == 0) done_.notify_one();
  }
  if (stream) cudaStreamDestroy(stream);
}

void Uploader::copy_chunks(const Job& job, std::vector<PinnedArray<unsigned char>>& buffers, std::vector<Mark>& marks,
                           std::vector<float>& values, Stream stream) {
  const auto bytes = static_cast<std::int64_t>(size_of(job.type));
  for (std::size_t turn = 0;; turn = 1 - turn) {
    const std::int64_t first = next_.fetch_add(kChunkElements);
    if (first >= job.count) return;
    const std::int64_t count = std::min(kChunkElements, job.count - first);
    const std::uint8_t* from = job.from + format_bytes(job.format, first);
    marks[turn].wait();
    if (same_type(job.format, job.type)) {
      std::memcpy(buffers[turn].get(), from, static_cast<std::size_t>(count * bytes));
    } else {
      values.resize(static_cast<std::size_t>(kChunkElements));
      dequantize(from, job.format, count, values.data());
      narrow(values.data(), count, job.type, buffers[turn].get());
    }
    check(cudaMemcpyAsync(job.to + first * bytes, buffers[turn].get(), static_cast<std::size_t>(count * bytes), cudaMemcpyHostToDevice,
                          stream),
          "a weight's copy to the GPU");
    marks[turn].record(stream);
  }
}

}  // namespace octavo::cuda

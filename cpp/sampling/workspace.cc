#include "sampling/workspace.h"

namespace octavo {

// new T[] without parentheses: pages stay untouched.
SampleBuffers::SampleBuffers(std::int64_t vocab_size)
    : logits(new float[vocab_size]),
      allowed(new std::int32_t[vocab_size]),
      ids(new std::int32_t[vocab_size]),
      values(new float[vocab_size]),
      weights(new float[vocab_size]),
      ranked(new Candidate[vocab_size]),
      block_weights(new double[(vocab_size + kWeightBlock - 1) / kWeightBlock]) {}

SampleWorkspace::SampleWorkspace(int num_threads, std::int64_t vocab_size) {
  for (int thread = 0; thread < num_threads; ++thread) buffers_.push_back(std::make_unique<SampleBuffers>(vocab_size));
}

SampleBuffers& SampleWorkspace::take() {
  while (true) {
    for (const auto& buffers : buffers_) {
      if (!buffers->taken.exchange(true, std::memory_order_acquire)) return *buffers;
    }
  }
}

}  // namespace octavo

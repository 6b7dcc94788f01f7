// What stands in for flashinfer/ in a build without FlashInfer; CMake takes one of the two.
#include "cuda/attention.h"

namespace octavo::cuda {

std::unique_ptr<Attention> make_flashinfer_attention(const AttentionShape&, const AttentionLimits&, std::string& why_not) {
  why_not = "this build has no FlashInfer kernels; build with -DOCTAVO_CUDA_FLASHINFER=ON";
  return nullptr;
}

}  // namespace octavo::cuda

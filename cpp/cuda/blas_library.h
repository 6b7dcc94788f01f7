// The entry points of cuBLASLt that we call, declared here so that building needs no cuBLAS (https://docs.nvidia.com/cuda/cublas/).
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

struct BlasAlgorithm {  // cublasLtMatmulAlgo_t
  std::uint64_t data[8];
};

struct BlasHeuristic {  // cublasLtMatmulHeuristicResult_t
  BlasAlgorithm algorithm;
  std::size_t workspace_bytes;
  int status;
  float waves;
  int reserved[4];
};

namespace blas {  // values of cuBLAS's enums
constexpr int kSuccess = 0;
constexpr int kComputeFloat32 = 68;                                       // CUBLAS_COMPUTE_32F
constexpr int kTransposeA = 3, kEpilogue = 7, kBias = 8, kBiasType = 26;  // CUBLASLT_MATMUL_DESC_*
constexpr int kTransposed = 1;                                            // CUBLAS_OP_T
constexpr int kEpilogueBias = 4;                                          // CUBLASLT_EPILOGUE_BIAS
constexpr int kWorkspaceBytes = 1;                                        // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES
}  // namespace blas

class BlasLibrary {
 public:
  // Opens the first of `paths` that loads and belongs to this build's CUDA major; an empty path is skipped. Null, with the reasons, when
  // none.
  static std::shared_ptr<BlasLibrary> open(const std::vector<std::string>& paths, std::string& why_not);

  std::string version() const;  // "13.1.0"
  const std::string& path() const { return path_; }

  using Handle = void*;
  int (*create)(Handle*) = nullptr;
  int (*destroy)(Handle) = nullptr;
  int (*product)(Handle, void* description, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout,
                 const void* beta, const void* c, void* c_layout, void* d, void* d_layout, const BlasAlgorithm*, void* workspace,
                 std::size_t workspace_bytes, Stream) = nullptr;
  int (*describe)(void**, int compute_type, int scale_type) = nullptr;
  int (*describe_destroy)(void*) = nullptr;
  int (*describe_set)(void*, int attribute, const void* value, std::size_t bytes) = nullptr;
  int (*layout)(void**, int type, std::uint64_t rows, std::uint64_t cols, std::int64_t stride) = nullptr;
  int (*layout_destroy)(void*) = nullptr;
  int (*preference)(void**) = nullptr;
  int (*preference_destroy)(void*) = nullptr;
  int (*preference_set)(void*, int attribute, const void* value, std::size_t bytes) = nullptr;
  int (*heuristics)(Handle, void* description, void* a, void* b, void* c, void* d, void* preference, int wanted, BlasHeuristic*,
                    int* found) = nullptr;
  int (*check)(Handle, void* description, void* a, void* b, void* c, void* d, const BlasAlgorithm*, BlasHeuristic*) = nullptr;

 private:
  bool bind(void* library);

  std::string path_;
  std::size_t version_ = 0;
};

}  // namespace octavo::cuda

#include "cuda/blas_library.h"

#include <dlfcn.h>

#include "base/error.h"

namespace octavo::cuda {
namespace {

constexpr std::size_t kMajor = CUDART_VERSION / 1000;

template <typename F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

std::shared_ptr<BlasLibrary> BlasLibrary::open(const std::vector<std::string>& paths, std::string& why_not) {
  const std::string name = concat("libcublasLt.so.", kMajor);
  std::vector<std::pair<std::string, int>> tries{{name, RTLD_NOW | RTLD_NOLOAD}};  // one that the process has loaded already comes first
  for (const std::string& path : paths) {
    if (!path.empty()) tries.emplace_back(path, RTLD_NOW);
  }
  tries.emplace_back(name, RTLD_NOW);
  for (const auto& [path, flags] : tries) {
    void* library = dlopen(path.c_str(), flags);
    if (!library) {
      if (const char* error = dlerror(); error && !(flags & RTLD_NOLOAD)) why_not += concat(why_not.empty() ? "" : "; ", error);
      continue;
    }
    auto opened = std::make_shared<BlasLibrary>();
    if (opened->bind(library)) {
      opened->path_ = path;
      return opened;
    }
    why_not += concat(why_not.empty() ? "" : "; ", path, " is not a cuBLASLt of CUDA ", kMajor);
  }
  return nullptr;
}

bool BlasLibrary::bind(void* library) {
  std::size_t (*get_version)() = nullptr;
  const bool found = find(library, "cublasLtGetVersion", get_version) && find(library, "cublasLtCreate", create) &&
                     find(library, "cublasLtDestroy", destroy) && find(library, "cublasLtMatmul", product) &&
                     find(library, "cublasLtMatmulDescCreate", describe) && find(library, "cublasLtMatmulDescDestroy", describe_destroy) &&
                     find(library, "cublasLtMatmulDescSetAttribute", describe_set) && find(library, "cublasLtMatrixLayoutCreate", layout) &&
                     find(library, "cublasLtMatrixLayoutDestroy", layout_destroy) &&
                     find(library, "cublasLtMatmulPreferenceCreate", preference) &&
                     find(library, "cublasLtMatmulPreferenceDestroy", preference_destroy) &&
                     find(library, "cublasLtMatmulPreferenceSetAttribute", preference_set) &&
                     find(library, "cublasLtMatmulAlgoGetHeuristic", heuristics) && find(library, "cublasLtMatmulAlgoCheck", check);
  if (!found) return false;
  version_ = get_version();
  return version_ / 10000 == kMajor;
}

std::string BlasLibrary::version() const { return concat(version_ / 10000, ".", version_ / 100 % 100, ".", version_ % 100); }

}  // namespace octavo::cuda

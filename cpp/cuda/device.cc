// A device: its stream, its products, its weights; and the library's one exported symbol.
#include <algorithm>
#include <thread>

#include "cuda/check.h"
#include "cuda/program.h"
#include "cuda/upload.h"
#include "cuda/weights.h"

namespace octavo::cuda {
namespace {

constexpr int kOldestCapability = 80;

DeviceInfo info_of(int index) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  return {properties.name, properties.major * 10 + properties.minor, properties.multiProcessorCount,
          static_cast<std::int64_t>(properties.totalGlobalMem)};
}

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(const OpenOptions& options) : index_(options.index), activation_(options.activation), memory_(options.dry) {
    require(activation_ == DType::bf16 || activation_ == DType::f16 || activation_ == DType::f32, "activations must be bf16, f16 or f32");
    if (options.dry) return;
    check(cudaSetDevice(index_), concat("GPU ", index_).c_str());
    info_ = info_of(index_);
    require(info_.capability >= kOldestCapability, "GPU ", index_, " (", info_.name, ") has compute capability ", info_.capability / 10,
            ".", info_.capability % 10, "; Octavo needs 8.0 or newer: use --device cpu");
    void* probe = nullptr;  // the first kernel loads the library's code: an architecture that was not built shows here
    check(cudaMalloc(&probe, 256), "the first allocation");
    fill_random(probe, DType::f32, 1, 0, nullptr);
    const cudaError_t status = cudaStreamSynchronize(nullptr);
    cudaFree(probe);
    check(status, "the first kernel");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
    std::string why_not;
    products_ = std::make_unique<Products>(BlasLibrary::open(options.blas_paths, why_not), options.deterministic);
    why_no_blas_ = why_not;
  }

  ~CudaDevice() override {
    uploader_.reset();
    products_.reset();
    if (stream_) cudaStreamDestroy(stream_);
  }

  const DeviceInfo& info() const override { return info_; }

  MemoryInfo memory() const override {
    MemoryInfo found;
    found.weight_bytes = memory_.num_bytes();
    if (memory_.dry()) return found;
    std::size_t free_bytes = 0, total_bytes = 0;
    check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
    found.free_bytes = static_cast<std::int64_t>(free_bytes);
    found.total_bytes = static_cast<std::int64_t>(total_bytes);
    return found;
  }

  std::string products() const override {
    if (!products_) return "none";
    return products_->describe() + (why_no_blas_.empty() || products_->num_bytes() > 0 ? "" : " (" + why_no_blas_ + ")");
  }

  std::shared_ptr<const program::Weight> place_linear(const std::vector<HostRows>& parts, std::int64_t cols) override {
    return place("linear", parts, cols);
  }
  std::shared_ptr<const program::Weight> place_embedding(const HostRows& table, std::int64_t cols) override {
    return place("embedding", {table}, cols);
  }

  std::shared_ptr<const program::Weight> as_linear(const std::shared_ptr<const program::Weight>& table) override {
    const auto* matrix = dynamic_cast<const MatrixWeight*>(table.get());
    require(matrix != nullptr, "as_linear: the weight is no matrix of this device");
    return matrix->as("linear");
  }

  std::shared_ptr<const program::Weight> place_array(const float* values, const std::vector<std::int64_t>& shape) override {
    std::int64_t count = 1;
    for (std::int64_t size : shape) count *= size;
    auto wide = memory_.allocate(count * 4, "an array");
    auto typed = activation_ == DType::f32 ? wide : memory_.allocate(count * bytes(), "an array");
    const auto* from = reinterpret_cast<const std::uint8_t*>(values);
    upload(from, Format::F32, count, wide.get(), DType::f32);
    if (typed != wide) upload(from, Format::F32, count, typed.get(), activation_);
    return std::make_shared<ArrayWeight>(std::move(wide), std::move(typed), shape);
  }

  std::shared_ptr<const program::Weight> join_experts(const std::vector<std::shared_ptr<const program::Weight>>& gate_up,
                                                      const std::vector<std::shared_ptr<const program::Weight>>& down) override {
    require(!gate_up.empty() && gate_up.size() == down.size(), "experts: ", gate_up.size(), " gate_up and ", down.size(), " down matrices");
    std::vector<DeviceMatrix> first = matrices(gate_up), second = matrices(down);
    const std::size_t bytes = gate_up.size() * sizeof(void*);
    auto pointers = memory_.allocate(static_cast<std::int64_t>(2 * bytes), "experts");
    std::vector<const void*> addresses;
    for (const auto* list : {&first, &second}) {
      for (const DeviceMatrix& matrix : *list) addresses.push_back(matrix.data);
    }
    if (!memory_.dry()) check(cudaMemcpy(pointers.get(), addresses.data(), 2 * bytes, cudaMemcpyHostToDevice), "experts");
    std::vector<std::shared_ptr<const program::Weight>> kept = gate_up;
    kept.insert(kept.end(), down.begin(), down.end());
    return std::make_shared<ExpertsWeight>(std::move(kept), std::move(pointers), first.front(), second.front());
  }

  std::shared_ptr<const program::Weight> random_linear(std::int64_t rows, std::int64_t cols, std::uint64_t seed) override {
    return random_matrix("linear", rows, cols, seed);
  }
  std::shared_ptr<const program::Weight> random_embedding(std::int64_t rows, std::int64_t cols, std::uint64_t seed) override {
    return random_matrix("embedding", rows, cols, seed);
  }

  std::unique_ptr<Program> lower(const program::Graph& graph, const ProgramLimits& limits) override {
    return std::make_unique<CudaProgram>(graph, limits, CudaProgram::Setting{activation_, products_.get(), stream_});
  }

  std::string measured() const override { return products_ ? products_->choices() : ""; }
  void set_measured(const std::string& text) override {
    if (products_) products_->set_choices(text);
  }

 private:
  std::int64_t bytes() const { return static_cast<std::int64_t>(size_of(activation_)); }

  void upload(const std::uint8_t* from, Format format, std::int64_t count, void* to, DType type) {
    if (memory_.dry()) return;
    if (!uploader_)
      uploader_ = std::make_unique<Uploader>(index_, static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 8u)));
    uploader_->upload(from, format, count, to, type);
  }

  void fill(const DeviceMatrix& matrix, std::uint64_t seed) {
    if (!memory_.dry()) fill_random(matrix.data, matrix.type, matrix.rows * matrix.cols, seed, stream_);
  }

  std::shared_ptr<const program::Weight> place(const char* kind, const std::vector<HostRows>& parts, std::int64_t cols) {
    std::int64_t rows = 0;
    for (const HostRows& part : parts) rows += part.rows;
    auto weight = std::make_shared<MatrixWeight>(kind, memory_.allocate(rows * cols * bytes(), "weights"), rows, cols, activation_);
    place_rows({parts}, cols, weight->matrix());
    return weight;
  }

  void place_rows(const std::vector<std::vector<HostRows>>& matrices, std::int64_t cols, const DeviceMatrix& to) {
    auto* at = static_cast<unsigned char*>(to.data);
    std::int64_t rows = 0;
    for (const auto& parts : matrices) {
      for (const HostRows& part : parts) {
        rows += part.rows;
        require(rows <= to.rows, "weights: ", rows, " rows for a matrix of ", to.rows);
        upload(part.data, format_from_name(part.format), part.rows * cols, at, to.type);
        at += part.rows * cols * bytes();
      }
    }
    require(rows == to.rows && cols == to.cols, "weights: [", rows, ", ", cols, "] for a matrix [", to.rows, ", ", to.cols, "]");
  }

  std::shared_ptr<const program::Weight> random_matrix(const char* kind, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    auto weight = std::make_shared<MatrixWeight>(kind, memory_.allocate(rows * cols * bytes(), "weights"), rows, cols, activation_);
    fill(weight->matrix(), seed);
    return weight;
  }

  // The matrices of placed weights, which must be of one shape.
  static std::vector<DeviceMatrix> matrices(const std::vector<std::shared_ptr<const program::Weight>>& weights) {
    std::vector<DeviceMatrix> found;
    for (const auto& weight : weights) {
      const auto* matrix = dynamic_cast<const MatrixWeight*>(weight.get());
      require(matrix != nullptr, "experts: a weight is no matrix of this device");
      found.push_back(matrix->matrix());
      require(found.back().rows == found.front().rows && found.back().cols == found.front().cols, "experts of different shapes");
    }
    return found;
  }

  int index_;
  DType activation_;
  WeightMemory memory_;
  DeviceInfo info_;
  Stream stream_ = nullptr;
  std::unique_ptr<Products> products_;
  std::string why_no_blas_;
  std::unique_ptr<Uploader> uploader_;
};

class CudaApi final : public Api {
 public:
  LibraryInfo info() const override {
    LibraryInfo found;
    found.version = OCTAVO_VERSION;
    found.architectures = OCTAVO_CUDA_ARCHITECTURES;
    cudaRuntimeGetVersion(&found.runtime_version);
    if (cudaDriverGetVersion(&found.driver_version) != cudaSuccess) found.driver_version = 0;
#if defined(OCTAVO_HAVE_FLASHINFER)
    found.flashinfer = true;
#endif
    return found;
  }

  std::vector<DeviceInfo> devices() const override {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
      cudaGetLastError();
      return {};
    }
    std::vector<DeviceInfo> found;
    for (int index = 0; index < count; ++index) found.push_back(info_of(index));
    return found;
  }

  std::unique_ptr<Device> open(const OpenOptions& options) const override { return std::make_unique<CudaDevice>(options); }
};

}  // namespace

std::shared_ptr<unsigned char> WeightMemory::allocate(std::int64_t bytes, const char* what) {
  num_bytes_ += bytes;
  if (dry_) return std::shared_ptr<unsigned char>(reinterpret_cast<unsigned char*>(kDryAddress), [](unsigned char*) {});
  void* memory = nullptr;
  check(cudaMalloc(&memory, static_cast<std::size_t>(std::max<std::int64_t>(bytes, 1))), what);
  return std::shared_ptr<unsigned char>(static_cast<unsigned char*>(memory), FreeDevice{});
}

}  // namespace octavo::cuda

extern "C" __attribute__((visibility("default"))) const octavo::cuda::Api* octavo_cuda_api(int version) {
  static const octavo::cuda::CudaApi api;
  return version == octavo::cuda::kApiVersion ? &api : nullptr;
}

// Dense products: cuBLASLt, found at run time (an installed torch's, NVIDIA's wheel's or the system's copy), or kernels of our own where
// they are faster or there is no cuBLASLt. Which, and with which algorithm, is measured once per shape and kept.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "cuda/blas_library.h"
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// A vector added to every row of a product: float32 for our kernels, and in the type of y for cuBLASLt's. Null: none.
struct Bias {
  const float* values = nullptr;
  const void* typed = nullptr;
};

// Row counts that share what is measured: each for itself up to 256, then up to a multiple of 128, 512 or 2048.
std::int64_t measured_rows(std::int64_t rows);

// What joins a product on its way to y.
struct Epilogue {
  Bias bias = {};
  const DeviceMatrix* added = nullptr;  // [T, N] of y's type, which may be y itself; null: nothing
};

class Products {
 public:
  // A null library: only kernels of our own. Deterministic: how a row is computed hangs on the weight's shape, not on the number of rows.
  explicit Products(std::shared_ptr<BlasLibrary> library, bool deterministic = false);
  ~Products();
  Products(const Products&) = delete;
  Products& operator=(const Products&) = delete;

  // y [T, N] = x [T, K] @ weight [N, K]^T + bias + added; x and weight of one type, y of it or float32.
  void product(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream);

  // Times the candidates for this shape, unless it is known, and keeps the fastest. Overwrites y and waits for the stream: not while a
  // graph is captured. A shape stands for all of the same measured_rows().
  void measure(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream);
  bool deterministic() const { return deterministic_; }
  // Whether such a product is computed by gemv, which can take more along.
  bool prefers_gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const Bias& bias, const DeviceMatrix& y);
  void finish_measuring();  // frees what measuring needs

  std::string choices() const;                // what was measured, for a file that the next start reads
  void set_choices(const std::string& text);  // lines of another cuBLASLt, or that cannot be read, are left out
  std::string describe() const;               // "cuBLASLt 13.1.0" or "own kernels"
  std::int64_t num_bytes() const;             // of workspace on the device

 private:
  struct Shape {
    std::int64_t rows, outputs, depth;
    int type, y_type, bias, added;
    auto key() const { return std::tie(rows, outputs, depth, type, y_type, bias, added); }
    bool operator<(const Shape& other) const { return key() < other.key(); }
  };
  struct Choice {
    bool own = false;  // gemv
    BlasAlgorithm algorithm = {};
  };
  struct Plan;  // descriptors and the choice, of one shape and strides
  static Shape shape_of(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y);
  Shape coarse(Shape shape) const;
  std::unique_ptr<Plan> describe_plan(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue,
                                      const DeviceMatrix& y) const;
  std::vector<BlasHeuristic> heuristics(const Plan& plan, int wanted) const;
  Plan& plan_of(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y);
  void run(const Plan& plan, const Choice& choice, const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue,
           const DeviceMatrix& y, Stream stream);
  void run_own(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream) const;
  Choice same_for_all_rows(const DeviceMatrix& weight, const Epilogue& epilogue, DType y_type, Stream stream);
  Choice fastest(const Plan& plan, std::vector<Choice> candidates, const DeviceMatrix& x, const DeviceMatrix& weight,
                 const Epilogue& epilogue, const DeviceMatrix& y, Stream stream);
  float time(const Plan& plan, const Choice& choice, const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue,
             const DeviceMatrix& y, Stream stream);

  std::shared_ptr<BlasLibrary> library_;
  bool deterministic_;
  void* handle_ = nullptr;
  void* workspace_ = nullptr;
  void* flush_ = nullptr;                                                // written between measurements, so that weights come from memory
  using Strides = std::tuple<std::int64_t, std::int64_t, std::int64_t>;  // of x, y and what is added
  std::map<std::tuple<Shape, Strides>, std::unique_ptr<Plan>> plans_;
  std::map<Shape, Choice> choices_;
};

}  // namespace octavo::cuda

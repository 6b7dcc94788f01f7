#include "cuda/blas.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include "cuda/check.h"
#include "cuda/launch.h"
#include "ops/activation/activation_cuda.h"
#include "ops/linear/gemv_cuda.h"
#include "ops/linear/tiled_cuda.h"

namespace octavo::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr std::size_t kFlushBytes = std::size_t{128} << 20;  // more than any L2 cache
constexpr int kCandidates = 16;
constexpr float kWorthwhile = 0.98f;  // of the best time so far: less is within the noise
// ms that a kernel of our own saves beside others: it starts before the one ahead has ended, and takes a norm or a gate along.
constexpr float kEarlyStart = 4e-3f;
constexpr float kShortest = 1e-4f;               // ms
constexpr float kClose = 1.06f;                  // of the best time: such candidates are measured again, in turns
constexpr char kOwnKernels[] = "own kernels 4";  // raised when theirs become faster: what was measured before counts no more

int blas_type(DType type) { return type == DType::f32 ? CUDA_R_32F : type == DType::f16 ? CUDA_R_16F : CUDA_R_16BF; }

void require_blas(int status, const char* what) {
  if (status != blas::kSuccess) throw std::runtime_error(concat("cuBLASLt: ", what, " failed with status ", status));
}

}  // namespace

struct Products::Plan {
  explicit Plan(const BlasLibrary* library_) : library(library_) {}
  ~Plan() {
    if (!library) return;
    if (description) library->describe_destroy(description);
    for (void* layout : {weight, x, y, added}) {
      if (layout) library->layout_destroy(layout);
    }
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  const BlasLibrary* library;
  void* description = nullptr;
  void* weight = nullptr;
  void* x = nullptr;
  void* y = nullptr;
  void* added = nullptr;
  Choice choice;
};

Products::Products(std::shared_ptr<BlasLibrary> library) : library_(std::move(library)) {
  if (!library_) return;
  require_blas(library_->create(&handle_), "create");
  check(cudaMalloc(&workspace_, kWorkspaceBytes), "cuBLASLt: workspace");
}

Products::~Products() {
  plans_.clear();
  finish_measuring();
  if (handle_) library_->destroy(handle_);
  cudaFree(workspace_);
}

std::int64_t Products::num_bytes() const { return library_ ? static_cast<std::int64_t>(kWorkspaceBytes) : 0; }

std::string Products::describe() const { return library_ ? "cuBLASLt " + library_->version() : "own kernels"; }

Products::Shape Products::shape_of(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y) {
  return {x.rows,
          weight.rows,
          weight.cols,
          static_cast<int>(x.type),
          static_cast<int>(y.type),
          epilogue.bias.values != nullptr,
          epilogue.added != nullptr};
}

std::int64_t measured_rows(std::int64_t rows) {
  if (rows <= 256) return rows;
  const std::int64_t step = rows <= 1024 ? 128 : rows <= 4096 ? 512 : 2048;
  return (rows + step - 1) / step * step;
}

Products::Shape Products::coarse(Shape shape) {
  shape.rows = measured_rows(shape.rows);
  return shape;
}

// cuBLASLt counts columns first: y^T [N, T] = weight [N, K] x^T, where a row-major matrix is its own transpose.
std::unique_ptr<Products::Plan> Products::describe_plan(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue,
                                                        const DeviceMatrix& y) const {
  auto plan = std::make_unique<Plan>(library_.get());
  if (!library_) return plan;
  const auto unsigned_of = [](std::int64_t count) { return static_cast<std::uint64_t>(count); };
  require_blas(library_->describe(&plan->description, blas::kComputeFloat32, CUDA_R_32F), "description");
  require_blas(library_->describe_set(plan->description, blas::kTransposeA, &blas::kTransposed, sizeof(int)), "transpose");
  if (const Bias& bias = epilogue.bias; bias.values) {
    const void* vector = y.type == DType::f32 ? bias.values : bias.typed;
    const int type = blas_type(y.type);
    require_blas(library_->describe_set(plan->description, blas::kEpilogue, &blas::kEpilogueBias, sizeof(int)), "epilogue");
    require_blas(library_->describe_set(plan->description, blas::kBiasType, &type, sizeof type), "bias type");
    require_blas(library_->describe_set(plan->description, blas::kBias, &vector, sizeof vector), "bias");
  }
  require_blas(library_->layout(&plan->weight, blas_type(weight.type), unsigned_of(weight.cols), unsigned_of(weight.rows), weight.stride),
               "layout");
  require_blas(library_->layout(&plan->x, blas_type(x.type), unsigned_of(x.cols), unsigned_of(x.rows), x.stride), "layout");
  require_blas(library_->layout(&plan->y, blas_type(y.type), unsigned_of(y.cols), unsigned_of(y.rows), y.stride), "layout");
  const DeviceMatrix& added = epilogue.added ? *epilogue.added : y;
  require_blas(library_->layout(&plan->added, blas_type(added.type), unsigned_of(added.cols), unsigned_of(added.rows), added.stride),
               "layout");
  return plan;
}

std::vector<BlasHeuristic> Products::heuristics(const Plan& plan, int wanted) const {
  void* preference = nullptr;
  require_blas(library_->preference(&preference), "preference");
  const std::uint64_t bytes = kWorkspaceBytes;
  require_blas(library_->preference_set(preference, blas::kWorkspaceBytes, &bytes, sizeof bytes), "preference");
  std::vector<BlasHeuristic> found(static_cast<std::size_t>(wanted));
  int count = 0;
  const int status =
      library_->heuristics(handle_, plan.description, plan.weight, plan.x, plan.added, plan.y, preference, wanted, found.data(), &count);
  library_->preference_destroy(preference);
  found.resize(status == blas::kSuccess ? static_cast<std::size_t>(count) : 0);
  return found;
}

Products::Plan& Products::plan_of(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y) {
  const Shape shape = shape_of(x, weight, epilogue, y);
  std::unique_ptr<Plan>& plan = plans_[{shape, {x.stride, y.stride, epilogue.added ? epilogue.added->stride : 0}}];
  if (plan) return *plan;
  plan = describe_plan(x, weight, epilogue, y);
  const auto known = choices_.find(coarse(shape));
  BlasHeuristic checked;
  if (!library_) {
    plan->choice.own = true;
  } else if (known != choices_.end() &&
             (known->second.own || library_->check(handle_, plan->description, plan->weight, plan->x, plan->added, plan->y,
                                                   &known->second.algorithm, &checked) == blas::kSuccess)) {
    plan->choice = known->second;
  } else {
    const auto found = heuristics(*plan, 1);
    plan->choice.own = found.empty();
    if (!found.empty()) plan->choice.algorithm = found.front().algorithm;
  }
  return *plan;
}

void Products::product(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream) {
  if (x.rows == 0) return;
  const Plan& plan = plan_of(x, weight, epilogue, y);
  run(plan, plan.choice, x, weight, epilogue, y, stream);
}

void Products::run_own(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream) {
  if (gemv_takes(x, weight)) return gemv(x, weight, {epilogue.bias.values, epilogue.added}, y, stream);
  const DeviceMatrix* residual = epilogue.added;
  require(!residual || residual->data != y.data, "a product of our own cannot add y to itself");
  tiled_product(x, weight, epilogue.bias.values, y, stream);
  if (residual) add(y, *residual, y, stream);
}

void Products::run(const Plan& plan, const Choice& choice, const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue,
                   const DeviceMatrix& y, Stream stream) {
  if (choice.own) return run_own(x, weight, epilogue, y, stream);
  const float one = 1.0f, share = epilogue.added ? 1.0f : 0.0f;
  const void* added = epilogue.added ? epilogue.added->data : y.data;
  if (const Bias& bias = epilogue.bias; bias.values) {  // layers of one shape share a plan, each with its own bias
    const void* vector = y.type == DType::f32 ? bias.values : bias.typed;
    require_blas(library_->describe_set(plan.description, blas::kBias, &vector, sizeof vector), "bias");
  }
  require_blas(library_->product(handle_, plan.description, &one, weight.data, plan.weight, x.data, plan.x, &share, added, plan.added,
                                 y.data, plan.y, &choice.algorithm, workspace_, kWorkspaceBytes, stream),
               "product");
}

float Products::time(const Plan& plan, const Choice& choice, const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue,
                     const DeviceMatrix& y, Stream stream) {
  constexpr int kRuns = 5;
  constexpr float kEnough = 4.0f;  // ms
  Event start, end;
  check(cudaEventCreate(&start), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<float> times;
  float total = 0.0f;
  for (int i = 0; i <= kRuns && (i < 3 || total < kEnough); ++i) {  // the first loads the kernel and is not counted
    check(cudaMemsetAsync(flush_, i, kFlushBytes, stream), "cudaMemsetAsync");
    check(cudaEventRecord(start, stream), "cudaEventRecord");
    run(plan, choice, x, weight, epilogue, y, stream);
    check(cudaEventRecord(end, stream), "cudaEventRecord");
    check(cudaEventSynchronize(end), "measuring products");
    float ms = 0.0f;
    check(cudaEventElapsedTime(&ms, start, end), "cudaEventElapsedTime");
    if (i > 0) times.push_back(ms);
    total += ms;
  }
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

// Each candidate alone, then those that are close in turns: a GPU that reaches its power limit meanwhile slows all of them.
Products::Choice Products::fastest(const Plan& plan, std::vector<Choice> candidates, const DeviceMatrix& x, const DeviceMatrix& weight,
                                   const Epilogue& epilogue, const DeviceMatrix& y, Stream stream) {
  constexpr int kTurns = 3;
  std::vector<float> times(candidates.size(), 0.0f);
  for (int turn = 0; turn <= kTurns; ++turn) {
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      float ms = time(plan, candidates[i], x, weight, epilogue, y, stream);
      if (candidates[i].own && starts_early()) ms = std::max(ms - kEarlyStart, kShortest);
      times[i] += ms;
    }
    if (turn > 0 && turn < kTurns) continue;
    const float best = *std::min_element(times.begin(), times.end());
    std::vector<Choice> close;
    std::size_t first = 0;  // of those within the noise; candidates come best first, as cuBLASLt thinks
    while (times[first] * kWorthwhile > best) ++first;
    if (turn == kTurns) return candidates[first];
    for (std::size_t i = 0; i < candidates.size(); ++i) {
      if (times[i] <= best * kClose) close.push_back(candidates[i]);
    }
    if (close.size() == 1) return close.front();
    candidates = std::move(close);
    times.assign(candidates.size(), 0.0f);
  }
  return candidates.front();
}

bool Products::prefers_gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const Bias& bias, const DeviceMatrix& y) {
  return gemv_takes(x, weight) && plan_of(x, weight, {bias}, y).choice.own;
}

void Products::measure(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream) {
  const Shape shape = shape_of(x, weight, epilogue, y);
  if (!library_ || x.rows == 0 || choices_.count(coarse(shape))) return;
  if (!flush_) check(cudaMalloc(&flush_, kFlushBytes), "measuring products");
  const std::unique_ptr<Plan> plan = describe_plan(x, weight, epilogue, y);
  std::vector<Choice> candidates;
  for (const BlasHeuristic& found : heuristics(*plan, kCandidates)) candidates.push_back({false, found.algorithm});
  if (gemv_takes(x, weight)) candidates.push_back({true, {}});
  if (candidates.empty()) candidates.push_back({true, {}});
  choices_[coarse(shape)] = fastest(*plan, candidates, x, weight, epilogue, y, stream);
  for (auto known = plans_.begin(); known != plans_.end();) {  // made before this was known
    const Shape other = coarse(std::get<0>(known->first)), mine = coarse(shape);
    known = !(other < mine) && !(mine < other) ? plans_.erase(known) : std::next(known);
  }
}

void Products::finish_measuring() {
  cudaFree(flush_);
  flush_ = nullptr;
}

std::string Products::choices() const {
  std::ostringstream text;
  for (const auto& [shape, choice] : choices_) {
    text << describe() << ", " << kOwnKernels << '|' << shape.rows << ' ' << shape.outputs << ' ' << shape.depth << ' ' << shape.type << ' '
         << shape.y_type << ' ' << shape.bias << ' ' << shape.added << ' ' << choice.own;
    for (std::uint64_t word : choice.algorithm.data) text << ' ' << word;
    text << '\n';
  }
  return text.str();
}

void Products::set_choices(const std::string& text) {
  std::istringstream lines(text);
  const std::string mine = describe() + ", " + kOwnKernels + "|";
  for (std::string line; std::getline(lines, line);) {
    if (line.compare(0, mine.size(), mine) != 0) continue;
    std::istringstream words(line.substr(mine.size()));
    Shape shape;
    Choice choice;
    words >> shape.rows >> shape.outputs >> shape.depth >> shape.type >> shape.y_type >> shape.bias >> shape.added >> choice.own;
    for (std::uint64_t& word : choice.algorithm.data) words >> word;
    if (words) choices_[shape] = choice;
  }
}

}  // namespace octavo::cuda

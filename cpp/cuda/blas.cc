#include "cuda/blas.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <sstream>

#include "cuda/check.h"
#include "cuda/launch.h"
#include "cuda/memory.h"
#include "cuda/weights.h"
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

constexpr std::int64_t kAnyRows = 0;  // in a shape whose choice holds for any number of rows

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

Products::Products(std::shared_ptr<BlasLibrary> library, bool deterministic) : library_(std::move(library)), deterministic_(deterministic) {
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

Products::Shape Products::coarse(Shape shape) const {
  shape.rows = deterministic_ ? kAnyRows : measured_rows(shape.rows);
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
  } else if (deterministic_) {
    throw std::runtime_error(concat("cuBLASLt: no algorithm computes ", shape.rows, " rows of a product with [", weight.rows, ", ",
                                    weight.cols, "] as it does others; serve without --deterministic"));
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

void Products::run_own(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y,
                       Stream stream) const {
  if (!deterministic_ && gemv_takes(x, weight)) return gemv(x, weight, {epilogue.bias.values, epilogue.added}, y, stream);
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

// The algorithm that is fast for few rows and not slow for many, among those that compute the first rows of a product to the same bits
// whatever rows follow. That they do is seen, on random operands, not taken from a document.
Products::Choice Products::same_for_all_rows(const DeviceMatrix& weight, const Epilogue& epilogue, DType y_type, Stream stream) {
  constexpr std::int64_t kMostRows = 2048, kMostElements = std::int64_t{64} << 20, kLargestStep = 65536;
  const std::int64_t most = std::clamp(kMostElements / weight.rows, std::int64_t{128}, kMostRows);
  const std::array<std::int64_t, 4> row_counts{most, 64, 16, 1};
  constexpr float kLittle = 1.08f, kBehind = 1e6f;
  const auto size = [](DType type) { return static_cast<std::int64_t>(size_of(type)); };
  const auto xs = device_array<unsigned char>(static_cast<std::size_t>(most * weight.cols * size(weight.type)), "measuring products");
  const auto ys = device_array<unsigned char>(static_cast<std::size_t>(most * weight.rows * size(y_type)), "measuring products");
  fill_random(xs.get(), weight.type, most * weight.cols, 1, stream);
  struct Operands {
    DeviceMatrix x, y;
    std::unique_ptr<Plan> plan;
  };
  std::vector<Operands> all;
  std::vector<BlasAlgorithm> candidates;
  for (std::int64_t rows : row_counts) {
    Operands made{{xs.get(), rows, weight.cols, weight.cols, weight.type}, {ys.get(), rows, weight.rows, weight.rows, y_type}, nullptr};
    made.plan = describe_plan(made.x, weight, {epilogue.bias}, made.y);
    for (const BlasHeuristic& found : heuristics(*made.plan, kCandidates)) {
      const auto same = [&](const BlasAlgorithm& other) { return std::memcmp(&other, &found.algorithm, sizeof other) == 0; };
      if (std::none_of(candidates.begin(), candidates.end(), same)) candidates.push_back(found.algorithm);
    }
    all.push_back(std::move(made));
  }
  const DeviceMatrix most_x{nullptr, kLargestStep, weight.cols, weight.cols, weight.type},
      most_y{nullptr, kLargestStep, weight.rows, weight.rows, y_type};
  const std::unique_ptr<Plan> largest = describe_plan(most_x, weight, {epilogue.bias}, most_y);
  const auto takes = [&](const Plan& plan, const BlasAlgorithm& algorithm) {
    BlasHeuristic checked;
    return library_->check(handle_, plan.description, plan.weight, plan.x, plan.added, plan.y, &algorithm, &checked) == blas::kSuccess &&
           checked.workspace_bytes <= kWorkspaceBytes;
  };
  std::vector<std::pair<BlasAlgorithm, std::array<float, 4>>> valid;
  std::array<float, 4> best;
  best.fill(std::numeric_limits<float>::max());
  const auto row_bytes = static_cast<std::size_t>(weight.rows * size(y_type));
  for (const BlasAlgorithm& algorithm : candidates) {
    std::array<float, 4> times{};
    std::vector<unsigned char> expected, got;
    bool same = takes(*largest, algorithm);
    for (std::size_t i = 0; same && i < all.size(); ++i) {
      const Operands& of = all[i];
      same = takes(*of.plan, algorithm);
      if (!same) break;
      const Choice choice{false, algorithm};
      times[i] = time(*of.plan, choice, of.x, weight, {epilogue.bias}, of.y, stream);
      std::vector<unsigned char>& rows = i == 0 ? expected : got;
      rows.resize(static_cast<std::size_t>(std::min<std::int64_t>(of.x.rows, 64)) * row_bytes);
      check(cudaMemcpyAsync(rows.data(), ys.get(), rows.size(), cudaMemcpyDeviceToHost, stream), "measuring products");
      check(cudaStreamSynchronize(stream), "measuring products");
      same = i == 0 || std::memcmp(expected.data(), got.data(), got.size()) == 0;
    }
    if (!same) continue;
    for (std::size_t i = 0; i < times.size(); ++i) best[i] = std::min(best[i], times[i]);
    valid.emplace_back(algorithm, times);
  }
  if (valid.empty()) return {true, {}};
  // Who pays little for few rows is ordered by the time of many; the others come behind, by what all row counts pay together.
  const auto cost = [&](const auto& candidate) {
    float sum = 0.0f, few = 0.0f;
    for (std::size_t i = 0; i < best.size(); ++i) sum += candidate.second[i] / best[i];
    for (std::size_t i = 1; i < best.size(); ++i) few = std::max(few, candidate.second[i] / best[i]);
    return few <= kLittle ? candidate.second[0] / best[0] : kBehind + sum;
  };
  const auto chosen = std::min_element(valid.begin(), valid.end(), [&](const auto& a, const auto& b) { return cost(a) < cost(b); });
  return {false, chosen->first};
}

bool Products::prefers_gemv(const DeviceMatrix& x, const DeviceMatrix& weight, const Bias& bias, const DeviceMatrix& y) {
  return !deterministic_ && gemv_takes(x, weight) && plan_of(x, weight, {bias}, y).choice.own;
}

void Products::measure(const DeviceMatrix& x, const DeviceMatrix& weight, const Epilogue& epilogue, const DeviceMatrix& y, Stream stream) {
  const Shape shape = shape_of(x, weight, epilogue, y);
  if (!library_ || x.rows == 0 || choices_.count(coarse(shape))) return;
  if (!flush_) check(cudaMalloc(&flush_, kFlushBytes), "measuring products");
  if (deterministic_) {
    choices_[coarse(shape)] = same_for_all_rows(weight, epilogue, y.type, stream);
    return;
  }
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

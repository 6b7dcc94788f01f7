// Linear layers of every weight format: reading packed weights bounds few rows, arithmetic many.
#include "bench/harness.h"
#include "ops/linear/linear.h"
#include "weights/quantized_group.h"

namespace octavo::bench {
namespace {

struct Shape {
  std::int64_t cols, rows;  // K, N
};

constexpr std::int64_t kHidden = 576, kFfn = 1536, kVocab = 49152;  // of SmolLM2-135M

// A weight format and how it is multiplied.
struct Kind {
  Format format;
  Arithmetic arithmetic;

  bool operator==(const Kind& other) const { return format == other.format && arithmetic == other.arithmetic; }
  bool operator!=(const Kind& other) const { return !(*this == other); }
  Peak peak() const { return arithmetic == Arithmetic::int8 ? Peak::int8 : Peak::fp32; }
};

// Weights of a model's consecutive layers, one format.
class Weights {
 public:
  Weights(Kind kind, std::int64_t cols, std::int64_t rows) {  // copies of one layer, more than the caches hold
    const std::vector<std::uint8_t> raw = random_blocks(kind.format, rows * cols);
    while (num_bytes_ < uncached_bytes()) add(raw, kind, {cols, rows});
  }
  explicit Weights(Kind kind) {  // the linear layers of SmolLM2-135M and its head
    const std::vector<std::uint8_t> raw = random_blocks(kind.format, kHidden * kVocab);
    for (int layer = 0; layer < 30; ++layer) {
      for (const Shape& shape : {Shape{kHidden, 960}, Shape{kHidden, kHidden}, Shape{kHidden, 2 * kFfn}, Shape{kFfn, kHidden}}) {
        add(raw, kind, shape);
      }
    }
    add(raw, kind, {kHidden, kVocab});
  }

  std::int64_t num_bytes() const { return num_bytes_; }
  const std::vector<std::unique_ptr<LinearWeight>>& layers() const { return layers_; }

 private:
  void add(const std::vector<std::uint8_t>& raw, Kind kind, Shape shape) {
    const std::vector<LinearWeight::Part> parts{{raw.data(), kind.format, shape.rows}};
    layers_.push_back(std::make_unique<LinearWeight>(parts, shape.cols, pool(), kind.arithmetic));
    num_bytes_ += layers_.back()->num_bytes();
  }

  std::vector<std::unique_ptr<LinearWeight>> layers_;
  std::int64_t num_bytes_ = 0;
};

void bench_linear(benchmark::State& state, Kind kind) {
  const std::int64_t cols = state.range(0), rows = state.range(1), num_tokens = state.range(2);
  const Weights& weights = kept<Weights>(kind, cols, rows);
  const std::vector<float> x = normal_floats(num_tokens * cols);
  std::vector<float> y(static_cast<std::size_t>(num_tokens * rows));
  std::size_t next = 0;
  const Work work{static_cast<double>(weights.layers().front()->num_bytes()), 2.0 * static_cast<double>(num_tokens * rows * cols),
                  static_cast<double>(weights.num_bytes()), kind.peak()};
  measure(state, work, [&] {
    linear({x.data(), num_tokens, cols}, *weights.layers()[next], nullptr, {y.data(), num_tokens, rows}, pool());
    next = (next + 1) % weights.layers().size();
  });
}

void bench_model_step(benchmark::State& state, Kind kind) {
  const std::int64_t num_tokens = state.range(0);
  const std::int64_t num_logits = num_tokens > 32 ? 1 : num_tokens;  // prefill needs few rows of logits
  const Weights& weights = kept<Weights>(kind);
  const std::vector<float> x = normal_floats(num_tokens * kFfn);
  std::vector<float> y(static_cast<std::size_t>(num_tokens * kVocab));
  Work work{static_cast<double>(weights.num_bytes())};
  work.peak = kind.peak();
  const auto rows_of = [&](const LinearWeight& weight) { return weight.rows() == kVocab ? num_logits : num_tokens; };
  for (const auto& weight : weights.layers())
    work.operations += 2.0 * static_cast<double>(rows_of(*weight) * weight->rows() * weight->cols());
  measure(state, work, [&] {
    for (const auto& weight : weights.layers()) {
      const std::int64_t rows = rows_of(*weight);
      linear({x.data(), rows, weight->cols()}, *weight, nullptr, {y.data(), rows, weight->rows()}, pool());
    }
  });
}

// Blocks of 256 do not fit the rows of every model.
bool fits(Format format, std::int64_t cols) { return cols % block_elements(format) == 0; }

void add_benchmarks(Kind kind) {
  const std::string name = std::string(name_of(kind.format)) + (kind.arithmetic == Arithmetic::int8 ? "/int8" : "");
  auto* linear_bench = benchmark::RegisterBenchmark(("linear/" + name).c_str(), bench_linear, kind);
  linear_bench->ArgNames({"K", "N", "T"})->UseRealTime()->Unit(benchmark::kMicrosecond);
  for (const Shape& shape : {Shape{576, 1536}, Shape{2048, 8192}}) {
    if (!fits(kind.format, shape.cols)) continue;
    for (std::int64_t num_tokens : {1, 4, 8, 32, 512}) linear_bench->Args({shape.cols, shape.rows, num_tokens});
  }
  if (!fits(kind.format, kHidden)) return;
  auto* step_bench = benchmark::RegisterBenchmark(("model_step/" + name).c_str(), bench_model_step, kind);
  step_bench->ArgName("T")->UseRealTime()->Unit(benchmark::kMillisecond);
  for (std::int64_t num_tokens : {1, 2, 4, 8, 32, 512}) step_bench->Arg(num_tokens);
}

const bool added = [] {
  for (Format format : all_formats()) {
    add_benchmarks({format, Arithmetic::exact});
    if (is_quantized(format)) add_benchmarks({format, Arithmetic::int8});
  }
  return true;
}();

}  // namespace
}  // namespace octavo::bench

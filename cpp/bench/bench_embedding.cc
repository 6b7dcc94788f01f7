// Embedding look-up: rows of a table that no cache holds, dequantised as they are read.
#include <random>

#include "bench/harness.h"
#include "ops/embedding/embedding.h"

namespace octavo::bench {
namespace {

constexpr std::int64_t kVocabSize = 131072, kCols = 768;  // whole blocks of every format

// Rows of one format, and token ids that visit them in no order.
struct Table {
  explicit Table(Format format_) : format(format_), data(static_cast<std::size_t>(format_bytes(format_, kVocabSize * kCols)), 0x3b) {
    std::mt19937 generator(1);
    for (std::int32_t& id : token_ids) id = static_cast<std::int32_t>(generator() % kVocabSize);
  }
  Format format;
  std::vector<std::uint8_t> data;
  std::vector<std::int32_t> token_ids = std::vector<std::int32_t>(std::size_t{1} << 16);
};

void bench_embedding(benchmark::State& state, Format format) {
  const std::int64_t num_tokens = state.range(0);
  const Table& table = kept<Table>(format);
  const EmbeddingWeight weight{table.data.data(), format, kVocabSize, kCols};
  std::vector<float> y(static_cast<std::size_t>(num_tokens * kCols));
  std::int64_t first = 0;
  const double bytes = static_cast<double>(num_tokens * (format_bytes(format, kCols) + kCols * std::int64_t{sizeof(float)}));
  measure(state, {bytes, 0.0, static_cast<double>(table.data.size())}, [&] {
    embedding({table.token_ids.data() + first, num_tokens}, weight, 1.0f, {y.data(), num_tokens, kCols}, pool());
    first = (first + num_tokens) % static_cast<std::int64_t>(table.token_ids.size());
  });
}

const bool added = [] {
  for (Format format : all_formats()) {
    benchmark::RegisterBenchmark((std::string("embedding/") + name_of(format)).c_str(), bench_embedding, format)
        ->ArgName("T")
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond)
        ->Arg(1)
        ->Arg(32)
        ->Arg(512);
  }
  return true;
}();

}  // namespace
}  // namespace octavo::bench

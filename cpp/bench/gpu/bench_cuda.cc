// octavo-bench-cuda: ceilings of the card, then ops and whole steps of decoders as shares of them. One JSON object per line.
//
//   octavo-bench-cuda [path of libcublasLt] [ceilings,ops,experts,steps]

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <functional>
#include <set>

#include "cuda/attention.h"
#include "cuda/check.h"
#include "cuda/program.h"
#include "cuda/weights.h"
#include "gpu/llama_graph.h"
#include "ops/linear/gemv_cuda.h"
#include "ops/linear/tiled_cuda.h"
#include "ops/moe/few_tokens_cuda.h"
#include "ops/moe/grouped_cuda.h"
#include "ops/norm/norm_cuda.h"
#include "sampling/sampler.h"

extern "C" const octavo::cuda::Api* octavo_cuda_api(int version);

namespace octavo::cuda {
namespace {

double copy_ceiling = 0.0;     // bytes a second, read and written
double product_ceiling = 0.0;  // floating-point operations a second

// Median of the times that `run` takes on the device, seconds; a write of 128 MiB between runs empties the L2 cache.
double median_seconds(const std::function<void()>& run, int runs = 20) {
  static const auto flush = device_array<unsigned char>(std::size_t{128} << 20, "flush");
  Event start, end;
  check(cudaEventCreate(&start), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < runs + 3; ++i) {
    check(cudaMemsetAsync(flush.get(), i, std::size_t{128} << 20, nullptr), "flush");
    check(cudaEventRecord(start, nullptr), "event");
    run();
    check(cudaEventRecord(end, nullptr), "event");
    check(cudaEventSynchronize(end), "event");
    float ms = 0.0f;
    check(cudaEventElapsedTime(&ms, start, end), "event");
    if (i >= 3) times.push_back(ms);
  }
  std::nth_element(times.begin(), times.begin() + runs / 2, times.end());
  return times[static_cast<std::size_t>(runs / 2)] * 1e-3;
}

void report(const std::string& name, double seconds, double bytes, double operations) {
  std::printf("{\"name\": \"%s\", \"us\": %.2f, \"gb_s\": %.0f, \"of_copy\": %.3f, \"tflop_s\": %.1f, \"of_product\": %.3f}\n",
              name.c_str(), seconds * 1e6, bytes / seconds * 1e-9, copy_ceiling > 0 ? bytes / seconds / copy_ceiling : 0.0,
              operations / seconds * 1e-12, product_ceiling > 0 ? operations / seconds / product_ceiling : 0.0);
  std::fflush(stdout);
}

DeviceMatrix matrix(std::int64_t rows, std::int64_t cols, DType type = DType::bf16) {
  static std::vector<DeviceArray<unsigned char>> kept;
  kept.push_back(device_array<unsigned char>(static_cast<std::size_t>(rows * cols) * size_of(type), "a benchmark's matrix"));
  fill_random(kept.back().get(), type, rows * cols, kept.size(), nullptr);
  return {kept.back().get(), rows, cols, cols, type};
}

void ceilings(Products& products) {
  const std::int64_t bytes = std::int64_t{2} << 30;
  const DeviceMatrix from = matrix(1, bytes / 2), to = matrix(1, bytes / 2);
  const double seconds = median_seconds(
      [&] { check(cudaMemcpyAsync(to.data, from.data, static_cast<std::size_t>(bytes), cudaMemcpyDeviceToDevice, nullptr), "copy"); }, 10);
  copy_ceiling = 2.0 * static_cast<double>(bytes) / seconds;
  report("ceiling: copy", seconds, 2.0 * static_cast<double>(bytes), 0);
  const DeviceMatrix x = matrix(8192, 8192), w = matrix(8192, 8192), y = matrix(8192, 8192);
  products.measure(x, w, {}, y, nullptr);
  const double product = median_seconds([&] { products.product(x, w, {}, y, nullptr); }, 10);
  product_ceiling = 2.0 * 8192.0 * 8192.0 * 8192.0 / product;
  report("ceiling: product 8192^3", product, 0, 2.0 * 8192.0 * 8192.0 * 8192.0);
}

void products_of(Products& products, std::int64_t rows, std::int64_t outputs, std::int64_t depth) {
  const DeviceMatrix x = matrix(rows, depth), w = matrix(outputs, depth), y = matrix(rows, outputs);
  const double bytes = 2.0 * static_cast<double>(outputs * depth + rows * depth + rows * outputs),
               operations = 2.0 * static_cast<double>(rows * outputs * depth);
  const auto name = [&](const char* kind) { return concat(kind, " ", rows, " x ", outputs, " x ", depth); };
  products.product(x, w, {}, y, nullptr);
  report(name("first heuristic"), median_seconds([&] { products.product(x, w, {}, y, nullptr); }), bytes, operations);
  products.measure(x, w, {}, y, nullptr);
  report(name("measured choice"), median_seconds([&] { products.product(x, w, {}, y, nullptr); }), bytes, operations);
  if (rows <= kMostGemvRows) report(name("own gemv"), median_seconds([&] { gemv(x, w, {}, y, nullptr); }), bytes, operations);
  if (rows >= 64 && rows <= 1024)
    report(name("own tiled"), median_seconds([&] { tiled_product(x, w, nullptr, y, nullptr); }, 5), bytes, operations);
}

void attention_of(bool flashinfer, int rows, int queries, int context) {
  AttentionShape shape;
  shape.num_heads = 32;
  shape.num_kv_heads = 8;
  shape.head_dim = 128;
  shape.scale = 0.088f;
  const int blocks = (context + kPageTokens - 1) / kPageTokens, tokens = rows * queries;
  std::vector<std::int32_t> indptr{0}, contexts, tables, positions, token_rows;
  for (int row = 0; row < rows; ++row) {
    contexts.push_back(context);
    for (int b = 0; b < blocks; ++b) tables.push_back(static_cast<std::int32_t>((row * blocks + b) * 7919LL % (rows * blocks)));
    for (int i = 0; i < queries; ++i) {
      positions.push_back(context - queries + i);
      token_rows.push_back(row);
    }
    indptr.push_back(static_cast<std::int32_t>(positions.size()));
  }
  std::vector<DeviceArray<std::int32_t>> kept;
  const auto upload = [&](const std::vector<std::int32_t>& values) {
    kept.push_back(device_array<std::int32_t>(values.size(), "ints"));
    check(cudaMemcpy(kept.back().get(), values.data(), values.size() * 4, cudaMemcpyHostToDevice), "ints");
    return kept.back().get();
  };
  AttentionStep step;
  step.host = {indptr.data(), contexts.data(), tables.data(), positions.data(), token_rows.data()};
  step.device = {upload(indptr), upload(contexts), upload(tables), upload(positions), upload(token_rows)};
  step.num_rows = rows;
  step.num_tokens = tokens;
  step.max_blocks = blocks;
  step.max_query_len = queries;
  step.max_context_len = context;
  std::unique_ptr<Attention> attention;
  const AttentionLimits limits{1024, 40000, 16384};
  std::string why_not = "not compiled";
  if (flashinfer) attention = make_flashinfer_attention(shape, limits, why_not);
  if (flashinfer && !attention) return;
  if (!attention) attention = make_paged_attention(shape, limits);
  const DeviceMatrix q = matrix(tokens, 4096), y = matrix(tokens, 4096),
                     pages = matrix(static_cast<std::int64_t>(rows) * blocks * 32, 1024);
  attention->plan(step, nullptr);
  check(cudaDeviceSynchronize(), "plan");
  const double kv_bytes = 2.0 * 2.0 * 1024.0 * rows * context,
               pairs = static_cast<double>(rows) * queries * (context - (queries - 1) / 2.0);
  report(concat("attention ", attention->name(), " ", rows, " x ", queries, " of ", context),
         median_seconds([&] { attention->run(q, pages.data, y, nullptr); }, 10), kv_bytes, 4.0 * 4096.0 * pairs);
}

// A mixture of 8 experts, 2 a token, as workload.json's; `tile` rows a tile, 0: the kernels for few tokens.
void experts_of(std::int64_t tokens, int tile) {
  constexpr std::int64_t kExperts = 8, kTopK = 2, kHidden = 2048, kSize = 4096;
  static const DeviceMatrix gate_up = matrix(kExperts * 2 * kSize, kHidden), down = matrix(kExperts * kHidden, kSize);
  const auto grouped = [](const DeviceMatrix& all) {
    static std::vector<DeviceArray<const void*>> kept;
    const std::int64_t rows = all.rows / kExperts;
    std::vector<const void*> addresses;
    for (std::int64_t e = 0; e < kExperts; ++e) addresses.push_back(static_cast<unsigned char*>(all.data) + e * rows * all.cols * 2);
    kept.push_back(device_array<const void*>(addresses.size(), "experts"));
    check(cudaMemcpy(kept.back().get(), addresses.data(), addresses.size() * sizeof(void*), cudaMemcpyHostToDevice), "experts");
    return GroupedWeights{kept.back().get(), kExperts, {all.data, rows, all.cols, all.cols, all.type}};
  };
  const GroupedWeights up = grouped(gate_up), out = grouped(down);
  const std::int64_t rows = tokens * kTopK;
  const DeviceMatrix x = matrix(tokens, kHidden), logits = matrix(tokens, kExperts), weights = matrix(tokens, kTopK, DType::f32),
                     hidden = matrix(rows, kSize), made = matrix(rows, kHidden), y = matrix(tokens, kHidden);
  const auto ids = device_array<std::int32_t>(static_cast<std::size_t>(rows), "ids");
  const DeviceMatrix id_rows{ids.get(), tokens, kTopK, kTopK, DType::i32};
  route(logits, Routing{Scoring::softmax, true}, id_rows, weights, nullptr);
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(rows));
  check(cudaMemcpy(chosen.data(), ids.get(), chosen.size() * 4, cudaMemcpyDeviceToHost), "ids");
  const double read = static_cast<double>(std::set<std::int32_t>(chosen.begin(), chosen.end()).size()), per_row = 2.0 * 3 * kHidden * kSize;
  const auto memory = device_array<unsigned char>(static_cast<std::size_t>(SortedChoices::num_bytes(rows, kExperts)), "sorted");
  const SortedChoices sorted = SortedChoices::in(memory.get(), rows, kExperts);
  const auto tell = [&](const char* part, double share, const std::function<void()>& run) {
    report(concat("experts ", part, " of ", tokens, tile ? concat(", tiles of ", tile) : std::string(", few tokens")),
           median_seconds(run, 10), share * read * per_row, share * static_cast<double>(rows) * per_row);
  };
  if (tile == 0) return tell("all", 1, [&] { few_token_experts(Gate::silu, false, x, id_rows, weights, up, out, hidden, y, nullptr); });
  tell("sort", 0, [&] { sort_choices(id_rows, weights, kExperts, tile, sorted, nullptr); });
  tell("gate_up", 2.0 / 3, [&] { gated_grouped_product(Gate::silu, false, x, up, sorted, tile, hidden, nullptr); });
  tell("down", 1.0 / 3, [&] { grouped_product(hidden, out, sorted, tile, made, nullptr); });
  tell("combine", 0, [&] { combine(made, weights, false, sorted, y, nullptr); });
}

void experts() {
  for (const std::int64_t tokens : {1, 2, 4, 8}) experts_of(tokens, 0);
  for (const std::int64_t tokens : {2, 4, 8, 16}) experts_of(tokens, 16);
  for (const std::int64_t tokens : {16, 64}) experts_of(tokens, 32);
  for (const std::int64_t tokens : {64, 128, 256}) experts_of(tokens, 64);
  for (const std::int64_t tokens : {128, 256, 1024, 8192}) experts_of(tokens, 128);
}

void ops(Products& products) {
  for (const std::int64_t rows : {1, 4, 16, 64, 256, 2048}) {
    products_of(products, rows, 6144, 4096);
    products_of(products, rows, 28672, 4096);
    products_of(products, rows, 4096, 14336);
  }
  products_of(products, 1, 4096, 4096);
  products_of(products, 1, 128256, 4096);
  products_of(products, 1, 896, 896);
  products_of(products, 1, 9728, 896);
  products_of(products, 1, 896, 4864);
  products.finish_measuring();
  const auto weight = matrix(1, 4096, DType::f32);
  for (const std::int64_t rows : {1, 64, 2048}) {
    const DeviceMatrix x = matrix(rows, 4096), residual = matrix(rows, 4096), y = matrix(rows, 4096), sum = matrix(rows, 4096);
    report(concat("add_rms_norm ", rows),
           median_seconds([&] { add_rms_norm(x, residual, static_cast<const float*>(weight.data), 1e-5f, y, sum, nullptr); }),
           8.0 * 4096.0 * static_cast<double>(rows), 0);
  }
  for (const bool flashinfer : {false, true}) {
    attention_of(flashinfer, 1, 1, 300);
    attention_of(flashinfer, 1, 1, 8192);
    attention_of(flashinfer, 64, 1, 1024);
    attention_of(flashinfer, 256, 1, 512);
    attention_of(flashinfer, 1, 2048, 2048);
    if (flashinfer) attention_of(flashinfer, 8, 4096, 4096);
  }
}

// `rows` sequences of `queries` new tokens each, after `context` - queries others.
struct Step {
  std::vector<std::int32_t> token_ids, positions, slots, indptr{0}, contexts, tables, indices;
  StepInput input(std::int64_t blocks) {
    return {{token_ids.data(), static_cast<std::int64_t>(token_ids.size())},
            {positions.data(), static_cast<std::int64_t>(positions.size())},
            {slots.data(), static_cast<std::int64_t>(slots.size())},
            {indptr.data(), static_cast<std::int64_t>(indptr.size())},
            {contexts.data(), static_cast<std::int64_t>(contexts.size())},
            {tables.data(), static_cast<std::int64_t>(contexts.size()), blocks},
            {indices.data(), static_cast<std::int64_t>(indices.size())}};
  }
};

void time_step(Program& program, const std::string& name, double weight_bytes, double kv_token_bytes, int rows, int queries, int context) {
  const std::int64_t blocks = (context + kPageTokens - 1) / kPageTokens;
  Step step;
  for (int row = 0; row < rows; ++row) {
    for (std::int64_t b = 0; b < blocks; ++b) step.tables.push_back(static_cast<std::int32_t>(row * blocks + b));
    for (int i = 0; i < queries; ++i) {
      const int position = context - queries + i;
      step.token_ids.push_back((row * 31 + i * 7 + 1000) % 20000);
      step.positions.push_back(position);
      step.slots.push_back(static_cast<std::int32_t>(row * blocks * kPageTokens + position));
    }
    step.indptr.push_back(static_cast<std::int32_t>(step.positions.size()));
    step.indices.push_back(static_cast<std::int32_t>(step.positions.size()) - 1);
    step.contexts.push_back(context);
  }
  const StepInput input = step.input(blocks);
  program.run(input);
  std::vector<double> times;
  for (int i = 0; i < (queries > 1 ? 4 : 20); ++i) {
    timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    program.run(input);
    clock_gettime(CLOCK_MONOTONIC, &b);
    times.push_back(static_cast<double>(b.tv_sec - a.tv_sec) + static_cast<double>(b.tv_nsec - a.tv_nsec) * 1e-9);
  }
  std::sort(times.begin(), times.end());
  const double seconds = times[times.size() / 2];
  report(concat(name, " step of ", rows, " x ", queries, " at ", context, ", logits to the host"), seconds,
         weight_bytes + kv_token_bytes * rows * context, weight_bytes * rows * queries);
}

void steps(const std::string& blas_path) {
  for (const LlamaShape& shape : {llama_8b(), qwen_05b()}) {
    for (const bool graphs : {true, false}) {
      const auto device = octavo_cuda_api(kApiVersion)->open({0, DType::bf16, {blas_path}, false});
      GraphBuilder builder(*device);
      const program::Graph graph = builder.llama(shape, 8192);
      ProgramLimits limits;
      limits.max_num_seqs = 256;
      limits.max_num_tokens = 8192;
      limits.max_num_logits = 256;
      limits.max_model_len = 8192;
      limits.graphs = graphs;
      const auto program = device->lower(graph, limits);
      program->make_caches(16384);
      const double weight_bytes = static_cast<double>(device->memory().weight_bytes) - static_cast<double>(shape.vocab * shape.hidden * 2);
      const double kv = 4.0 * static_cast<double>(shape.layers * shape.kv_heads * shape.head_dim);
      const std::string name = shape.name + (graphs ? "" : " without graphs");
      for (const int rows : {1, 16, 64, 256}) time_step(*program, name, weight_bytes, kv, rows, 1, 256);
      if (graphs) time_step(*program, name, weight_bytes, kv, 64, 1, 1024);
      time_step(*program, name, weight_bytes, kv, 1, 512, 512);
      if (graphs) time_step(*program, name, weight_bytes, kv, 2, 4096, 4096);
    }
  }
}

}  // namespace
}  // namespace octavo::cuda

int main(int argc, char** argv) {
  const std::string blas_path = argc > 1 ? argv[1] : "", parts = argc > 2 ? argv[2] : "ceilings,ops,experts,steps";
  std::string why_not;
  {
    octavo::cuda::Products products(octavo::cuda::BlasLibrary::open({blas_path}, why_not));
    std::fprintf(stderr, "products: %s %s\n", products.describe().c_str(), why_not.c_str());
    if (parts.find("ceilings") != std::string::npos) octavo::cuda::ceilings(products);
    if (parts.find("ops") != std::string::npos) octavo::cuda::ops(products);
    if (parts.find("experts") != std::string::npos) octavo::cuda::experts();
  }
  if (parts.find("steps") != std::string::npos) octavo::cuda::steps(blas_path);
  return 0;
}

// The graph of a Llama-like decoder of any shape over random weights, as models/llama.py records it: to time a device without Python.
#pragma once
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda/api.h"
#include "program/graph.h"

namespace octavo::cuda {

struct LlamaShape {
  std::string name;
  std::int64_t layers, hidden, heads, kv_heads, head_dim, intermediate, vocab;
  bool qkv_bias = false;
};

inline LlamaShape llama_8b() { return {"llama-3-8b", 32, 4096, 32, 8, 128, 14336, 128256}; }
inline LlamaShape qwen_05b() { return {"qwen2.5-0.5b", 24, 896, 14, 2, 64, 4864, 151936, true}; }

class GraphBuilder {
 public:
  explicit GraphBuilder(Device& device) : device_(device) { graph_.row_counts = {"tokens", "logits"}; }

  program::Graph llama(const LlamaShape& s, std::int64_t positions) {
    const auto ones = [&](std::int64_t count) {
      return device_.place_array(std::vector<float>(static_cast<std::size_t>(count), 1.0f).data(), {count});
    };
    const auto linear = [&](std::int64_t rows, std::int64_t cols) { return device_.random_linear(rows, cols, seed_++); };
    std::vector<float> angles;
    for (std::int64_t p = 0; p < positions; ++p) {
      for (int sine = 0; sine < 2; ++sine) {
        for (std::int64_t i = 0; i < s.head_dim / 2; ++i) {
          const double angle = static_cast<double>(p) * std::pow(5e5, -2.0 * static_cast<double>(i) / static_cast<double>(s.head_dim));
          angles.push_back(static_cast<float>(sine ? std::sin(angle) : std::cos(angle)));
        }
      }
    }
    const auto rope = device_.place_array(angles.data(), {positions, s.head_dim});
    const auto norm = ones(s.hidden);
    const std::int64_t q_cols = s.heads * s.head_dim, kv_cols = s.kv_heads * s.head_dim;
    const program::Attributes eps({{"eps", 1e-5}}), heads({{"head_dim", s.head_dim}});
    const program::Attributes attention({{"num_heads", s.heads}, {"scale", 1.0 / std::sqrt(static_cast<double>(s.head_dim))}});
    graph_.cache_groups.push_back({{program::CacheSpec::Kind::paged_kv, s.kv_heads, s.head_dim}, static_cast<int>(s.layers)});

    int residual = op("embedding", {}, {device_.random_embedding(s.vocab, s.hidden, seed_++)}, {}, {s.hidden})[0];
    int x = op("rms_norm", {residual}, {norm}, eps, {s.hidden})[0];
    for (std::int64_t layer = 0; layer < s.layers; ++layer) {
      graph_.caches.push_back({0, static_cast<int>(layer)});
      std::vector<std::shared_ptr<const program::Weight>> qkv_weights{linear(q_cols + 2 * kv_cols, s.hidden)};
      if (s.qkv_bias) qkv_weights.push_back(ones(q_cols + 2 * kv_cols));
      const int qkv = op("linear", {x}, qkv_weights, {}, {q_cols + 2 * kv_cols})[0];
      const int q = op("rotary_embedding", {columns(qkv, 0, q_cols)}, {rope}, heads, {q_cols})[0];
      const int k = op("rotary_embedding", {columns(qkv, q_cols, kv_cols)}, {rope}, heads, {kv_cols})[0];
      op("store_kv", {k, columns(qkv, q_cols + kv_cols, kv_cols)}, {}, {}, {}, static_cast<int>(layer));
      const int attended = op("paged_attention", {q}, {}, attention, {q_cols}, static_cast<int>(layer))[0];
      x = op("linear", {attended}, {linear(s.hidden, q_cols)}, {}, {s.hidden})[0];
      auto added = op("add_rms_norm", {x, residual}, {norm}, eps, {s.hidden, s.hidden});
      residual = added[1];
      const int gate_up = op("linear", {added[0]}, {linear(2 * s.intermediate, s.hidden)}, {}, {2 * s.intermediate})[0];
      const int activated = op("silu_and_mul", {gate_up}, {}, {}, {s.intermediate})[0];
      x = op("linear", {activated}, {linear(s.hidden, s.intermediate)}, {}, {s.hidden})[0];
      added = op("add_rms_norm", {x, residual}, {norm}, eps, {s.hidden, s.hidden});
      x = added[0];
      residual = added[1];
    }
    rows_ = 1;
    const int picked = op("select_logits_rows", {x}, {}, {}, {s.hidden})[0];
    type_ = program::ValueType::float32;
    const int logits = op("lm_head", {picked}, {linear(s.vocab, s.hidden)}, {}, {s.vocab})[0];
    graph_.outputs["logits"] = logits;
    graph_.storages[static_cast<std::size_t>(graph_.values[static_cast<std::size_t>(logits)].storage)].last_op =
        static_cast<int>(graph_.ops.size());
    return graph_;
  }

 private:
  std::vector<int> op(const char* name, std::vector<int> reads, std::vector<std::shared_ptr<const program::Weight>> weights,
                      program::Attributes attributes, const std::vector<std::int64_t>& cols, std::optional<int> cache = std::nullopt) {
    const int index = static_cast<int>(graph_.ops.size());
    for (int x : reads) graph_.storages[static_cast<std::size_t>(graph_.values[static_cast<std::size_t>(x)].storage)].last_op = index;
    std::vector<int> writes;
    for (std::int64_t count : cols) {
      graph_.storages.push_back({rows_, 1, count, type_, index, index});
      graph_.values.push_back({static_cast<int>(graph_.storages.size()) - 1, 0, count});
      writes.push_back(static_cast<int>(graph_.values.size()) - 1);
    }
    graph_.ops.push_back({name, std::move(reads), writes, std::move(weights), std::move(attributes), cache});
    return writes;
  }
  int columns(int x, std::int64_t first, std::int64_t count) {
    graph_.values.push_back({graph_.values[static_cast<std::size_t>(x)].storage, first, count});
    return static_cast<int>(graph_.values.size()) - 1;
  }

  Device& device_;
  program::Graph graph_;
  int rows_ = 0;
  program::ValueType type_ = program::ValueType::activation;
  std::uint64_t seed_ = 1;
};

}  // namespace octavo::cuda

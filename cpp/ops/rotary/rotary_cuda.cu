#include "cuda/attention.h"
#include "cuda/check.h"
#include "cuda/element.h"
#include "cuda/launch.h"
#include "ops/rotary/rotary_cuda.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 128;

// Heads of one token: read from `from`, written to `to`. A slot below 0 leaves `to` null.
template <typename T, typename To>
struct Heads {
  const T* from;
  To* to;
  int count;
};

template <typename To, typename T, int kPack>
__device__ __forceinline__ void store_as(const Pack<T, kPack>& pack, To* to) {
  if constexpr (std::is_same_v<T, To>) {
    pack.store(to);
  } else {
    Pack<To, kPack> other;
#pragma unroll
    for (int i = 0; i < kPack; ++i) other.set(i, pack[i]);
    other.store(to);
  }
}

// Items of a rotated head: pairs of packs, one in each half, then the packs that stay as they are.
template <int kPack, typename T, typename To>
__device__ void rotate_item(const Heads<T, To>& heads, int item, const float* cos_sin, int rotary_dim, int head_dim) {
  using P = Pack<T, kPack>;
  const int half = rotary_dim / 2, pairs = half / kPack, items = pairs + (head_dim - rotary_dim) / kPack;
  const int head = item / items, index = item % items;
  const T* from = heads.from + head * head_dim;
  To* to = heads.to + head * head_dim;
  if (index >= pairs) {
    const int at = rotary_dim + (index - pairs) * kPack;
    store_as<To, T, kPack>(P::load(from + at), to + at);
    return;
  }
  const int at = index * kPack;
  const P first = P::load(from + at), second = P::load(from + half + at);
  Pack<To, kPack> a, b;
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const float cos = cos_sin[at + i], sin = cos_sin[half + at + i];
    a.set(i, first[i] * cos - second[i] * sin);
    b.set(i, second[i] * cos + first[i] * sin);
  }
  a.store(to + at);
  b.store(to + half + at);
}

// One block per token.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    store_latent_kernel(const T* latent, std::int64_t latent_stride, int latent_dim, const T* rope_key, std::int64_t rope_stride,
                        int rope_dim, T* pages, const std::int32_t* slots) {
  let_next_start();
  wait_for_previous();
  const std::int64_t token = blockIdx.x;
  const std::int32_t slot = slots[token];
  if (slot < 0) return;
  T* to = pages + static_cast<std::int64_t>(slot) * (latent_dim + rope_dim);
  for (int i = threadIdx.x; i < latent_dim + rope_dim; i += kThreads)
    to[i] = i < latent_dim ? latent[token * latent_stride + i] : rope_key[token * rope_stride + i - latent_dim];
}

struct Strides {
  std::int64_t q, k, v, y;
};

// One block per token. Without pages: q alone.
template <typename T, typename K, int kPack>
__global__ void __launch_bounds__(kThreads)
    rotary_kernel(const T* q, const T* k, const T* v, T* y, Strides strides, const std::int32_t* positions, const float* table,
                  int rotary_dim, int head_dim, int num_heads, int num_kv_heads, K* pages, const std::int32_t* slots) {
  const std::int64_t token = blockIdx.x;
  let_next_start();
  wait_for_previous();
  const float* cos_sin = table ? table + static_cast<std::int64_t>(positions[token]) * rotary_dim : nullptr;
  const int per_head = (rotary_dim / 2 + head_dim - rotary_dim) / kPack;
  const Heads<T, T> queries{q + token * strides.q, y + token * strides.y, num_heads};
  for (int item = threadIdx.x; item < num_heads * per_head; item += kThreads) {
    rotate_item<kPack>(queries, item, cos_sin, rotary_dim, head_dim);
  }
  const std::int32_t slot = slots ? slots[token] : -1;
  if (slot < 0) return;
  const std::int64_t row = static_cast<std::int64_t>(num_kv_heads) * head_dim, block = slot / kPageTokens, offset = slot % kPageTokens;
  K* k_to = pages + (block * 2 * kPageTokens + offset) * row;
  K* v_to = k_to + kPageTokens * row;
  const Heads<T, K> keys{k + token * strides.k, k_to, num_kv_heads};
  for (int item = threadIdx.x; item < num_kv_heads * per_head; item += kThreads) {
    rotate_item<kPack>(keys, item, cos_sin, rotary_dim, head_dim);
  }
  const T* v_from = v + token * strides.v;
  for (int pack = threadIdx.x; pack < row / kPack; pack += kThreads)
    store_as<K, T, kPack>(Pack<T, kPack>::load(v_from + pack * kPack), v_to + pack * kPack);
}

// All three uses are one kernel: without pages, or with a table of no angles, the rest is left out.
void launch(const char* name, const DeviceMatrix* q, const DeviceMatrix* k, const DeviceMatrix* v, const std::int32_t* positions,
            RotaryTable table, int head_dim, const DeviceMatrix* y, const KVDestination* to, Stream stream) {
  const DeviceMatrix& any = q ? *q : *k;
  if (any.rows == 0) return;
  dispatch_kv(any.type, to ? to->type : any.type, name, [&](auto* tag, auto* kv) {
    using T = std::remove_pointer_t<decltype(tag)>;
    using K = std::remove_pointer_t<decltype(kv)>;
    constexpr int kPack = kVectorElements<T>;
    bool vectors = table.rotary_dim / 2 % kPack == 0 && head_dim % kPack == 0;
    for (const DeviceMatrix* x : {q, k, v, y}) vectors = vectors && (!x || x->in_vectors());
    const auto kernel = vectors ? rotary_kernel<T, K, kPack> : rotary_kernel<T, K, 1>;
    const auto data = [](const DeviceMatrix* x) { return x ? static_cast<T*>(x->data) : nullptr; };
    const auto stride = [](const DeviceMatrix* x) { return x ? x->stride : 0; };
    launch_kernel(kernel, static_cast<unsigned>(any.rows), kThreads, 0, stream, data(q), data(k), data(v), data(y),
                  Strides{stride(q), stride(k), stride(v), stride(y)}, positions, table.data, table.rotary_dim, head_dim,
                  q ? static_cast<int>(q->cols / head_dim) : 0, to ? to->num_kv_heads : 0, to ? static_cast<K*>(to->pages) : nullptr,
                  to ? to->slots : nullptr);
  });
}

}  // namespace

void rotary_embedding(const DeviceMatrix& x, const std::int32_t* positions, RotaryTable table, int head_dim, const DeviceMatrix& y,
                      Stream stream) {
  launch("rotary_embedding", &x, nullptr, nullptr, positions, table, head_dim, &y, nullptr, stream);
}

void store_kv(const DeviceMatrix& k, const DeviceMatrix& v, const KVDestination& to, Stream stream) {
  launch("store_kv", nullptr, &k, &v, nullptr, RotaryTable{}, to.head_dim, nullptr, &to, stream);
}

void store_latent(const DeviceMatrix& latent, const DeviceMatrix& rope_key, const KVDestination& to, Stream stream) {
  require(to.type == latent.type && latent.cols + rope_key.cols == to.head_dim, "store_latent: parts of ", latent.cols, " and ",
          rope_key.cols, " columns for pages of ", to.head_dim, ", or of another type");
  if (latent.rows == 0) return;
  dispatch_float(latent.type, "store_latent", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    launch_kernel(store_latent_kernel<T>, static_cast<unsigned>(latent.rows), kThreads, 0, stream, static_cast<const T*>(latent.data),
                  latent.stride, static_cast<int>(latent.cols), static_cast<const T*>(rope_key.data), rope_key.stride,
                  static_cast<int>(rope_key.cols), static_cast<T*>(to.pages), to.slots);
  });
}

void rotary_store_kv(const DeviceMatrix& q, const DeviceMatrix& k, const DeviceMatrix& v, const std::int32_t* positions, RotaryTable table,
                     const DeviceMatrix& y, const KVDestination& to, Stream stream) {
  launch("rotary_store_kv", &q, &k, &v, positions, table, to.head_dim, &y, &to, stream);
}

}  // namespace octavo::cuda

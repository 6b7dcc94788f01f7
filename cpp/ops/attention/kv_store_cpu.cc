// Rounds keys and values into pages of the KV cache.
#include "ops/attention/kv_element_cpu.h"
#include "ops/attention/kv_store_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

struct alignas(64) PaddedRow {
  float values[kMaxLatentDim];

  PaddedRow(const float* x, int count, int padded) {
    std::memcpy(values, x, static_cast<std::size_t>(count) * sizeof(float));
    for (int i = count; i < padded; ++i) values[i] = 0.0f;
  }
};

template <typename Element>
void store(const float* k, const float* v, const KVPageLayout& layout, int offset, unsigned char* page) {
  using Storage = typename Element::Storage;
  const int dim = layout.head_dim, padded = static_cast<int>(layout.value_stride);
  alignas(64) Storage row[kMaxHeadDim];
  float scales[2];
  scales[0] = Element::encode(PaddedRow(k, dim, padded).values, padded, row);
  Storage* keys = reinterpret_cast<Storage*>(page) + offset;
  for (int d = 0; d < dim; ++d) keys[d * kPageTokens] = row[d];
  scales[1] = Element::encode(PaddedRow(v, dim, padded).values, padded, row);
  const std::size_t row_bytes = static_cast<std::size_t>(padded) * sizeof(Storage);
  std::memcpy(page + layout.value_offset + static_cast<std::size_t>(offset) * row_bytes, row, row_bytes);
  if (!Element::kScaled) return;
  for (int which = 0; which < 2; ++which) {
    std::memcpy(page + layout.scale_offset + (which * kPageTokens + offset) * 4, scales + which, sizeof(float));
  }
}

// A row of the page: the latent, then the rotated key.
template <typename Element>
void store_latent(const float* latent, const float* rope_key, const KVPageLayout& layout, int offset, unsigned char* page) {
  using Storage = typename Element::Storage;
  const int dim = layout.head_dim, padded = static_cast<int>(layout.value_stride);
  PaddedRow row(latent, layout.value_dim, padded);
  std::memcpy(row.values + layout.value_dim, rope_key, static_cast<std::size_t>(dim - layout.value_dim) * sizeof(float));
  const float scale = Element::encode(row.values, padded, reinterpret_cast<Storage*>(page) + offset * padded);
  if (Element::kScaled) std::memcpy(page + layout.scale_offset + offset * 4, &scale, sizeof(float));
}

}  // namespace

const KVStoreKernels& kv_store_kernels() {
  static constexpr KVStoreKernels kernels{
      {store<Fp32Element>, store<Bf16Element>, store<Fp16Element>, store<Int8Element>},
      {store_latent<Fp32Element>, store_latent<Bf16Element>, store_latent<Fp16Element>, store_latent<Int8Element>}};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA

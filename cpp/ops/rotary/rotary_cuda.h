// Rotary position embedding on the device (halves convention, rotary.h), alone or in one pass with the write to the KV cache.
#pragma once
#include "cuda/device_matrix.h"
#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

// float32 [positions, rotary_dim]: cosines of rotary_dim / 2 angles, then their sines.
struct RotaryTable {
  const float* data = nullptr;
  int rotary_dim = 0;
};

// y [T, H * D] = x, each head rotated by its token's position.
void rotary_embedding(const DeviceMatrix& x, const std::int32_t* positions, RotaryTable table, int head_dim, const DeviceMatrix& y,
                      Stream stream);

// Where keys and values go: pages as in cuda/attention.h, of the activations' type or f8; a token of slot -1 is padding, not stored.
struct KVDestination {
  void* pages = nullptr;
  const std::int32_t* slots = nullptr;  // [T]
  int num_kv_heads = 0;
  int head_dim = 0;
  DType type = DType::bf16;
};

// k, v [T, K * D] into the pages.
void store_kv(const DeviceMatrix& k, const DeviceMatrix& v, const KVDestination& to, Stream stream);

// latent [T, L] and rope_key [T, R] side by side into pages of latents, whose head_dim is L + R.
void store_latent(const DeviceMatrix& latent, const DeviceMatrix& rope_key, const KVDestination& to, Stream stream);

// rotary_embedding of q into y and of k into the pages, and v into the pages.
void rotary_store_kv(const DeviceMatrix& q, const DeviceMatrix& k, const DeviceMatrix& v, const std::int32_t* positions, RotaryTable table,
                     const DeviceMatrix& y, const KVDestination& to, Stream stream);

}  // namespace octavo::cuda

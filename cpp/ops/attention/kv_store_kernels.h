// What kv_cache.cc asks of the kernels of one instruction set.
#pragma once
#include "cpu/dispatch.h"
#include "ops/attention/kv_page.h"

namespace octavo {

struct KVStoreKernels {
  // By KVDtype: rounds one head's key and value, D floats each, into token `offset` of its page.
  void (*store[kNumKVDtypes])(const float* k, const float* v, const KVPageLayout& layout, int offset, unsigned char* page);
  // The same for a token's vector in a latent page: L floats and then the rest of its D.
  void (*store_latent[kNumKVDtypes])(const float* latent, const float* rope_key, const KVPageLayout& layout, int offset,
                                     unsigned char* page);
};

OCTAVO_DECLARE_ISA_TABLE(KVStoreKernels, kv_store_kernels)

}  // namespace octavo

// Tensor cores by their instructions (PTX ISA, https://docs.nvidia.com/cuda/parallel-thread-execution/): asynchronous copies into shared
// memory, matrix fragments of a warp, and on compute capability 9.0 products of a warpgroup that reads both operands from shared memory.
//
// Operands lie in shared memory as rows of 64 elements of 16 bits, 128 bytes, the 16-byte pieces of row r at places XOR r % 8: no bank
// conflicts, and what a warpgroup's product calls the 128-byte swizzle. A tile begins at a multiple of 1024 bytes.
#pragma once
#include <cstdint>

#include "cuda/gpu_runtime.h"

namespace octavo::cuda {

constexpr int kTileDepth = 64;  // elements of a row of a tile
constexpr int kTileRowBytes = 128;

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Where a row's 16-byte piece lies in a tile.
__device__ __forceinline__ std::uint32_t tile_offset(int row, int piece) {
  return static_cast<std::uint32_t>(row * kTileRowBytes + ((piece ^ (row & 7)) << 4));
}

// 16 bytes from memory to shared memory; zeros where `real` is false.
__device__ __forceinline__ void copy_async(std::uint32_t to, const void* from, bool real) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(real ? 16 : 0));
}
__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrices(std::uint32_t (&to)[4], std::uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address));
}

// sums [16, 8] += a [16, 16] b [8, 16]^T, of a warp: lane l has rows l / 4 and l / 4 + 8, columns l % 4 * 2 and the next.
template <typename T>
__device__ __forceinline__ void multiply_fragments(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1);
template <>
__device__ __forceinline__ void multiply_fragments<bf16>(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                                         std::uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void multiply_fragments<half>(float (&sums)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                                         std::uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Whether this pass of the compiler has the products of warpgroups.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define OCTAVO_WARPGROUP_PRODUCTS 1
#else
#define OCTAVO_WARPGROUP_PRODUCTS 0
#endif

#if OCTAVO_WARPGROUP_PRODUCTS

// Describes a tile from `address` on: swizzled rows of 128 bytes, 1024 bytes from eight rows to the next eight.
__device__ __forceinline__ std::uint64_t describe_tile(std::uint32_t address) {
  return static_cast<std::uint64_t>((address & 0x3FFFF) >> 4) | std::uint64_t{1} << 16 | std::uint64_t{1024 >> 4} << 32 |
         std::uint64_t{1} << 62;
}

// What copies wrote into shared memory becomes visible to the warpgroup's products.
__device__ __forceinline__ void fence_tiles() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#define OCTAVO_SUMS_8(i)                                                                                              \
  "+f"(sums[i][0]), "+f"(sums[i][1]), "+f"(sums[i][2]), "+f"(sums[i][3]), "+f"(sums[i + 1][0]), "+f"(sums[i + 1][1]), \
      "+f"(sums[i + 1][2]), "+f"(sums[i + 1][3])
#define OCTAVO_SUMS_32(i) OCTAVO_SUMS_8(i), OCTAVO_SUMS_8(i + 2), OCTAVO_SUMS_8(i + 4), OCTAVO_SUMS_8(i + 6)
#define OCTAVO_SUMS_64(i) OCTAVO_SUMS_32(i), OCTAVO_SUMS_32(i + 8)

#define OCTAVO_REGISTERS_0_TO_63                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "           \
  "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define OCTAVO_REGISTERS_64_TO_127                                                               \
  "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "             \
  "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "             \
  "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

#define OCTAVO_PRODUCT_128(type)                                                                                                        \
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" OCTAVO_REGISTERS_0_TO_63 "}, %64, %65, 1, 1, 1, 0, 0;" \
               : OCTAVO_SUMS_64(0)                                                                                                      \
               : "l"(a), "l"(b))
#define OCTAVO_PRODUCT_256(type)                                                                                                          \
  asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" OCTAVO_REGISTERS_0_TO_63 ", " OCTAVO_REGISTERS_64_TO_127 \
               "}, %128, %129, 1, 1, 1, 0, 0;"                                                                                            \
               : OCTAVO_SUMS_64(0), OCTAVO_SUMS_64(16)                                                                                    \
               : "l"(a), "l"(b))

// sums [64, 8 * kBlocks] += a [64, 16] b [8 * kBlocks, 16]^T, of a warpgroup; warp w has rows 16 w .. 16 w + 15 as multiply_fragments does.
template <typename T, int kBlocks>
__device__ __forceinline__ void multiply_tiles(float (&sums)[kBlocks][4], std::uint64_t a, std::uint64_t b) {
  static_assert(kBlocks == 16 || kBlocks == 32, "128 or 256 columns");
  if constexpr (kBlocks == 16 && std::is_same_v<T, bf16>) OCTAVO_PRODUCT_128("bf16");
  if constexpr (kBlocks == 16 && std::is_same_v<T, half>) OCTAVO_PRODUCT_128("f16");
  if constexpr (kBlocks == 32 && std::is_same_v<T, bf16>) OCTAVO_PRODUCT_256("bf16");
  if constexpr (kBlocks == 32 && std::is_same_v<T, half>) OCTAVO_PRODUCT_256("f16");
}

#undef OCTAVO_SUMS_8
#undef OCTAVO_SUMS_32
#undef OCTAVO_SUMS_64
#undef OCTAVO_REGISTERS_0_TO_63
#undef OCTAVO_REGISTERS_64_TO_127
#undef OCTAVO_PRODUCT_128
#undef OCTAVO_PRODUCT_256

#endif  // OCTAVO_WARPGROUP_PRODUCTS

}  // namespace octavo::cuda

// Both ways to multiply exactly do the same operations in the same order for every output (linear.h): direct_cpu.h, tiled_cpu.h.
#include "ops/linear/cpu/direct_cpu.h"
#include "ops/linear/cpu/int8_cpu.h"
#include "ops/linear/cpu/quantize_row_cpu.h"
#include "ops/linear/cpu/tiled_cpu.h"
#include "ops/linear/linear_kernels.h"

namespace octavo::OCTAVO_ISA {
namespace {

void add_bias(const LinearTask& task) {
  for (std::int64_t row = 0; row < task.num_rows; ++row) {
    float* y = task.y + row * task.y_stride;
    for (std::int64_t column = 0; column < task.num_outputs; ++column) y[column] += task.bias[column];
  }
}

template <Packing P>
void compute_quantized(const LinearTask& task) {
  compute_int8<P>(task);
  if (task.bias) add_bias(task);
}

// Formats that few files have go through tiles whatever the rows: each way costs seconds to compile.
template <typename Decoder>
void compute_by_tiles(const LinearTask& task) {
  compute_tiled<Decoder>(task);
  if (task.bias) add_bias(task);
}

template <typename Decoder>
void compute(const LinearTask& task) {
  if (task.num_rows <= kMaxDirectRows<Decoder>) {
    compute_direct<Decoder>(task);
  } else {
    compute_tiled<Decoder>(task);
  }
  if (task.bias) add_bias(task);
}

}  // namespace

#if defined(OCTAVO_BYTE_SHUFFLES)
constexpr auto compute_compact_bf16 = compute<Bf16CompactDecoder>;
#else
constexpr void (*compute_compact_bf16)(const LinearTask&) = nullptr;
#endif

const LinearKernels& linear_kernels() {
  static constexpr LinearKernels kernels = {
      // in the order of Packing
      kPanelWidth,
      kRowTile,
      {compute<F32Decoder>, compute<F16Decoder>, compute<Bf16Decoder>, compute_compact_bf16, compute<CodeDecoder<Packing::u4_f16>>,
       compute<CodeDecoder<Packing::u4_f16_min>>, compute_by_tiles<CodeDecoder<Packing::u4_f32_min>>, compute<CodeDecoder<Packing::u8_f16>>,
       compute_by_tiles<CodeDecoder<Packing::u8_f16_min>>, compute_by_tiles<CodeDecoder<Packing::u8_f32_min>>,
       compute_by_tiles<CodeDecoder<Packing::u8_group16_f32>>, compute_by_tiles<CodeDecoder<Packing::u4_group64>>,
       compute_by_tiles<CodeDecoder<Packing::u4_group128>>, compute_by_tiles<CodeDecoder<Packing::u8_group128>>},
      {nullptr, nullptr, nullptr, nullptr, compute_quantized<Packing::u4_f16>, compute_quantized<Packing::u4_f16_min>,
       compute_quantized<Packing::u4_f32_min>, compute_quantized<Packing::u8_f16>, compute_quantized<Packing::u8_f16_min>,
       compute_quantized<Packing::u8_f32_min>, compute_quantized<Packing::u8_group16_f32>, compute_quantized<Packing::u4_group64>,
       compute_quantized<Packing::u4_group128>, compute_quantized<Packing::u8_group128>},
      quantize_row};
  return kernels;
}

}  // namespace octavo::OCTAVO_ISA

// A weight matrix [N, K] repacked for the active instruction set.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/isa.h"
#include "cpu/thread_pool.h"
#include "program/graph.h"
#include "weights/compact_bf16.h"
#include "weights/format.h"
#include "weights/panel_layout.h"

namespace octavo {

// How a matrix of codes is multiplied: exactly, on the dequantised values in float32, or with activations in 8 bits (linear.h).
// Matrices of plain floats are always multiplied exactly.
enum class Arithmetic : std::uint8_t { exact, int8 };

class LinearWeight : public program::Weight {
 public:
  struct Part {
    const std::uint8_t* data;  // raw blocks, row-major [rows, K]; read only by the constructor
    Format format;
    std::int64_t rows;
  };
  // Neighbouring parts of one format, packed as one matrix.
  struct PackedPart {
    Packing packing;
    Arithmetic arithmetic;
    int zero_point;
    std::int64_t first_row;
    std::int64_t rows;
    std::int64_t panel_bytes;
    std::int64_t num_panels;
    const std::uint8_t* panels;
    std::shared_ptr<const CompactBf16> compact;  // of Packing::bf16_compact
  };

  // Parts stack along N. Throws std::invalid_argument when K is not a whole number of a part's blocks.
  LinearWeight(const std::vector<Part>& parts, std::int64_t cols, cpu::ThreadPool& pool, Arithmetic arithmetic = Arithmetic::exact);

  const char* kind() const override { return "linear"; }
  std::vector<std::int64_t> shape() const override { return {rows_, cols_}; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t num_bytes() const { return num_bytes_; }
  cpu::Isa isa() const { return isa_; }  // the one it was packed for, and is computed with
  const std::vector<PackedPart>& packed_parts() const { return packed_parts_; }
  bool quantizes_activations() const;  // whether a part is computed in int8 arithmetic

 private:
  cpu::Isa isa_;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t num_bytes_ = 0;
  std::shared_ptr<std::uint8_t> memory_;
  std::vector<PackedPart> packed_parts_;
};

}  // namespace octavo

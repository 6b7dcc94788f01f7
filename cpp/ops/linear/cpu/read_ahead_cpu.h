// Deals out what a task fetches on the side (cpu/read_ahead.h) to its register tiles. For linear_cpu.cc alone.
#pragma once
#include "cpu/vec.h"
#include "ops/linear/linear_kernels.h"

namespace octavo::OCTAVO_ISA {

constexpr int kLineBytes = 64;

// What a tile fetches: `step` bytes from `at` on with each of its steps. A step of zero fetches nothing new.
struct Ahead {
  const std::uint8_t* at;
  int step;
};

class AheadWalk {
 public:
  // For `num_tiles` tiles of num_steps steps, each of which takes a multiple of `grain` bytes, at most `most`.
  AheadWalk(const LinearTask& task, std::int64_t num_tiles, std::int64_t num_steps, int grain, int most)
      : wanted_(task.ahead), position_(task.ahead.begin), num_steps_(num_steps), none_{task.panels, 0} {
    const std::int64_t slots = num_tiles * num_steps;
    const std::int64_t each = slots > 0 ? (wanted_.end - wanted_.begin + slots * grain - 1) / (slots * grain) * grain : 0;
    step_ = static_cast<int>(each < most ? each : most);
    if (step_ == 0) position_ = wanted_.end;
  }

  Ahead next() {
    if (position_ >= wanted_.end) return none_;
    const std::int64_t chunk = position_ / wanted_.chunk_bytes, offset = position_ % wanted_.chunk_bytes;
    const std::int64_t left = wanted_.chunk_bytes - offset, piece = step_ * num_steps_;
    position_ += left < piece + piece / 2 ? left : piece;  // pieces do not straddle chunks: the last one is a bit too long or too short
    return {wanted_.base + wanted_.indices[chunk] * wanted_.stride + offset, step_};
  }

 private:
  const cpu::ReadAhead& wanted_;
  std::int64_t position_, num_steps_;
  int step_;
  Ahead none_;
};

OCTAVO_VEC std::int64_t tiles_of(std::int64_t num_rows, int tile) { return (num_rows + tile - 1) / tile; }

}  // namespace octavo::OCTAVO_ISA

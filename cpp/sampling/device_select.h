// Selection and draws over one row of logits by a team of threads: a block of a GPU, or threads of a test. No sort of the vocabulary.
//
// Weights e^((x - max) / temperature) are integers, 2^40 for the largest logit, so that sums are the same in whatever order threads add.
// Logits rank by value, the lower id first among equals: (ordered bits of the value, ~id) as one integer, larger is better. A filter is a
// least rank that a token must have (`cut`). Cuts are found in two steps: a histogram of max - x in bins of 1/64 bounds the candidates, a
// radix selection among them (a list in fast memory, or the row itself when they are many) finds the one token at the boundary.
//
// A Team has: thread(), num_threads(), lane(), warp_width(), warp(), num_warps(), sync(), warp_sum(u64 or double), warp_max(u64),
// atomic_add(u32*, u32) -> u32 before, atomic_add(u64*, u64). All threads of a team call these functions together, with equal arguments,
// and get equal results.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/device_code.h"

namespace octavo::device {

using Rank = std::uint64_t;

constexpr int kBins = 2048;
constexpr float kBinsPerUnit = 64.0f;
constexpr int kDigits = 256;
constexpr int kListSize = 4096;
constexpr int kMaxWarps = 32;
constexpr int kMaxTop = 64;  // alternatives of a report
constexpr Rank kNotANumber = ~Rank{0};
constexpr double kWeightOne = 1099511627776.0;  // 2^40

// Fast memory of a team.
struct Scratch {
  std::uint64_t partial[kMaxWarps];
  std::uint64_t digit_measure[kDigits];
  std::uint32_t digit_count[kDigits];
  std::uint32_t bins[kBins];
  Rank list[kListSize];
  Rank top[kMaxTop];
  Rank found;
  std::uint32_t num_listed;
};

OCTAVO_DEVICE std::uint32_t ordered_bits(float x) {
  x = x == 0.0f ? 0.0f : x;  // -0 and 0 are equals
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

OCTAVO_DEVICE float value_of(Rank rank) {
  const auto key = static_cast<std::uint32_t>(rank >> 32);
  const std::uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

OCTAVO_DEVICE Rank rank_of(float x, std::int32_t id) {
  return x == x ? Rank{ordered_bits(x)} << 32 | (0xffffffffu - static_cast<std::uint32_t>(id)) : kNotANumber;
}
OCTAVO_DEVICE std::int32_t id_of(Rank rank) { return static_cast<std::int32_t>(0xffffffffu - static_cast<std::uint32_t>(rank)); }

// ---- collectives

template <typename Team>
OCTAVO_DEVICE void share(Team& team, Scratch& scratch, std::uint64_t of_warp) {
  team.sync();  // partial may still be read
  if (team.lane() == 0) scratch.partial[team.warp()] = of_warp;
  team.sync();
}

template <typename Team>
OCTAVO_DEVICE std::uint64_t team_sum(Team& team, Scratch& scratch, std::uint64_t x) {
  share(team, scratch, team.warp_sum(x));
  std::uint64_t total = 0;
  for (int warp = 0; warp < team.num_warps(); ++warp) total += scratch.partial[warp];
  return total;
}

// In an order that the team's size fixes.
template <typename Team>
OCTAVO_DEVICE double team_sum(Team& team, Scratch& scratch, double x) {
  x = team.warp_sum(x);
  std::uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  share(team, scratch, bits);
  double total = 0.0;
  for (int warp = 0; warp < team.num_warps(); ++warp) {
    std::memcpy(&x, &scratch.partial[warp], sizeof x);
    total += x;
  }
  return total;
}

template <typename Team>
OCTAVO_DEVICE std::uint64_t team_max(Team& team, Scratch& scratch, std::uint64_t x) {
  share(team, scratch, team.warp_max(x));
  std::uint64_t most = 0;
  for (int warp = 0; warp < team.num_warps(); ++warp) most = scratch.partial[warp] > most ? scratch.partial[warp] : most;
  return most;
}

// Calls f(i, x[i]) for the elements that fall to part `part` of `num_parts`, four neighbours at a time where the row allows it.
template <typename F>
OCTAVO_DEVICE void for_each(int part, int num_parts, const float* x, int count, F&& f) {
  struct alignas(16) Quad {
    float values[4];
  };
  const bool aligned = reinterpret_cast<std::uintptr_t>(x) % 16 == 0;
  const int num_quads = aligned ? count / 4 : 0;
  for (int quad = part; quad < num_quads; quad += num_parts) {
    const Quad four = reinterpret_cast<const Quad*>(x)[quad];
    for (int i = 0; i < 4; ++i) f(4 * quad + i, four.values[i]);
  }
  for (int i = 4 * num_quads + part; i < count; i += num_parts) f(i, x[i]);
}

// The same for every element of a row, shared by a team.
template <typename Team, typename F>
OCTAVO_DEVICE void for_each(const Team& team, const float* x, int count, F&& f) {
  for_each(team.thread(), team.num_threads(), x, count, f);
}

struct Crossing {
  int bin;
  std::uint64_t before;  // measure of the bins before it
};

// The first bin at which the sum of measures reaches `target` (>= 1), or the last.
template <typename Team, typename Measure>
OCTAVO_DEVICE Crossing find_crossing(Team& team, Scratch& scratch, int num_bins, std::uint64_t target, Measure&& measure) {
  const int piece = (num_bins + team.num_warps() - 1) / team.num_warps();
  std::uint64_t sum = 0;
  const int end = (team.warp() + 1) * piece < num_bins ? (team.warp() + 1) * piece : num_bins;
  for (int bin = team.warp() * piece + team.lane(); bin < end; bin += team.warp_width()) sum += measure(bin);
  share(team, scratch, team.warp_sum(sum));
  std::uint64_t before = 0;
  int warp = 0;
  for (; warp < team.num_warps() - 1 && before + scratch.partial[warp] < target; ++warp) before += scratch.partial[warp];
  int bin = warp * piece < num_bins ? warp * piece : num_bins - 1;
  for (; bin < num_bins - 1; ++bin) {
    const std::uint64_t here = measure(bin);
    if (before + here >= target) break;
    before += here;
  }
  return {bin, before};
}

// ---- weights

struct Weights {
  float max;
  float temperature;
  float floor;  // only logits above it take part
  Rank cut;     // only ranks from it on do

  OCTAVO_DEVICE std::uint64_t of_value(float x) const {
    return static_cast<std::uint64_t>(static_cast<double>(expf((x - max) / temperature)) * kWeightOne + 0.5);
  }
  OCTAVO_DEVICE std::uint64_t of(float x, std::int32_t id) const { return x > floor && rank_of(x, id) >= cut ? of_value(x) : 0; }
};

// The best token: NaN anywhere gives kNotANumber.
template <typename Team>
OCTAVO_DEVICE Rank find_best(Team& team, Scratch& scratch, const float* x, int count) {
  Rank best = 0;
  for_each(team, x, count, [&](int i, float value) {
    const Rank rank = rank_of(value, i);
    best = rank > best ? rank : best;
  });
  return team_max(team, scratch, best);
}

// The inverse of the cumulative distribution in order of ids: the first token at which the sum of weights exceeds uniform * total.
// Each round cuts the range into a piece per warp and goes on with the one that holds the token.
template <typename Team>
OCTAVO_DEVICE std::int32_t draw(Team& team, Scratch& scratch, const float* x, int count, const Weights& weights, double uniform) {
  int begin = 0, end = count;
  std::uint64_t target = 0;
  for (bool first = true;; first = false) {
    const int piece = ((end - begin + team.num_warps() - 1) / team.num_warps() + 3) / 4 * 4;
    const int from = begin + team.warp() * piece < end ? begin + team.warp() * piece : end;
    const int length = from + piece < end ? piece : end - from;
    std::uint64_t sum = 0;
    for_each(team.lane(), team.warp_width(), x + from, length, [&](int i, float value) { sum += weights.of(value, from + i); });
    share(team, scratch, team.warp_sum(sum));
    if (first) {
      std::uint64_t total = 0;
      for (int warp = 0; warp < team.num_warps(); ++warp) total += scratch.partial[warp];
      target = static_cast<std::uint64_t>(uniform * static_cast<double>(total));
      target = target < total ? target : total - 1;
    }
    int warp = 0;
    for (; warp < team.num_warps() - 1 && scratch.partial[warp] <= target; ++warp) target -= scratch.partial[warp];
    begin += warp * piece;
    end = begin + piece < end ? begin + piece : end;
    if (end - begin <= 8 || team.num_warps() == 1) break;
  }
  std::uint64_t cumulative = 0;
  for (int i = begin; i < end; ++i) {
    cumulative += weights.of(x[i], i);
    if (cumulative > target) return i;
  }
  return end - 1;
}

// ---- selection

OCTAVO_DEVICE int bin_of(float max, float x) {
  const float scaled = (max - x) * kBinsPerUnit;
  return scaled < kBins - 1 ? static_cast<int>(scaled) : kBins - 1;
}

// Candidates: logits above `floor` in the first `num_bins` bins. In the list when they fit, else in the row.
struct Candidates {
  const float* x;
  int count;
  float max, floor;
  int num_bins;
  bool listed;

  // Calls f(rank) for each.
  template <typename Team, typename F>
  OCTAVO_DEVICE void for_each_rank(const Team& team, const Scratch& scratch, F&& f) const {
    if (listed) {
      for (std::uint32_t i = team.thread(); i < scratch.num_listed; i += team.num_threads()) f(scratch.list[i]);
    } else {
      for_each(team, x, count, [&](int i, float value) {
        if (value > floor && bin_of(max, value) < num_bins) f(rank_of(value, i));
      });
    }
  }
  // A rank that none is below.
  OCTAVO_DEVICE Rank least() const {
    return num_bins == kBins ? 0 : Rank{ordered_bits(max - (static_cast<float>(num_bins) + 1.0f) / kBinsPerUnit)} << 32;
  }
};

// Counts logits above floor by bins; returns how many.
template <typename Team>
OCTAVO_DEVICE std::uint64_t fill_bins(Team& team, Scratch& scratch, const float* x, int count, float max, float floor) {
  team.sync();
  for (int bin = team.thread(); bin < kBins; bin += team.num_threads()) scratch.bins[bin] = 0;
  team.sync();
  std::uint64_t num_above = 0;
  for_each(team, x, count, [&](int, float value) {
    if (!(value > floor)) return;
    ++num_above;
    team.atomic_add(&scratch.bins[bin_of(max, value)], 1u);
  });
  return team_sum(team, scratch, num_above);
}

// The candidates in the first num_bins bins, of which fill_bins counted `num`.
template <typename Team>
OCTAVO_DEVICE Candidates gather(Team& team, Scratch& scratch, const float* x, int count, float max, float floor, int num_bins,
                                std::uint64_t num) {
  Candidates candidates{x, count, max, floor, num_bins, num <= kListSize};
  team.sync();
  if (team.thread() == 0) scratch.num_listed = 0;
  team.sync();
  if (candidates.listed) {
    for_each(team, x, count, [&](int i, float value) {
      if (value > floor && bin_of(max, value) < num_bins) scratch.list[team.atomic_add(&scratch.num_listed, 1u)] = rank_of(value, i);
    });
  }
  team.sync();
  return candidates;
}

// Among candidates of at least rank `cut`, best first: the one at which the sum of measure(rank) reaches target (>= 1), or the last.
template <typename Team, typename Measure>
OCTAVO_DEVICE Rank select(Team& team, Scratch& scratch, const Candidates& candidates, Rank cut, std::uint64_t target, Measure&& measure) {
  const Rank most = Rank{ordered_bits(candidates.max)} << 32 | 0xffffffffu;
  Rank differing = (most ^ candidates.least()) | 0xffffffffu;
  int undecided = 32;  // low bits of the rank that are not known yet
  for (differing >>= 32; differing != 0; differing >>= 1) ++undecided;
  Rank prefix = undecided == 64 ? 0 : most >> undecided << undecided;
  while (undecided > 0) {
    const int width = undecided < 8 ? undecided : 8, shift = undecided - width, num_digits = 1 << width;
    const auto matches = [&](Rank rank) { return rank >= cut && (undecided == 64 || rank >> undecided == prefix >> undecided); };
    team.sync();
    for (int digit = team.thread(); digit < kDigits; digit += team.num_threads()) {
      scratch.digit_measure[digit] = 0;
      scratch.digit_count[digit] = 0;
    }
    team.sync();
    candidates.for_each_rank(team, scratch, [&](Rank rank) {
      if (!matches(rank)) return;
      const int digit = static_cast<int>(rank >> shift) & (num_digits - 1);
      team.atomic_add(&scratch.digit_measure[digit], measure(rank));
      team.atomic_add(&scratch.digit_count[digit], 1u);
    });
    team.sync();
    // Empty digits are no answer: the last resort, when rounding keeps the sum below the target, is the lowest digit that has candidates.
    const Crossing crossing =
        find_crossing(team, scratch, num_digits, target, [&](int bin) { return scratch.digit_measure[num_digits - 1 - bin]; });
    int digit = num_digits - 1 - crossing.bin;
    while (digit < num_digits - 1 && scratch.digit_count[digit] == 0) ++digit;
    target = target > crossing.before ? target - crossing.before : 1;
    prefix |= Rank{static_cast<std::uint64_t>(digit)} << shift;
    undecided = shift;
    if (scratch.digit_count[digit] == 1) break;
  }
  if (undecided == 0) return prefix;
  team.sync();
  candidates.for_each_rank(team, scratch, [&](Rank rank) {
    if (rank >= cut && rank >> undecided == prefix >> undecided) scratch.found = rank;
  });
  team.sync();
  return scratch.found;
}

template <typename Team>
OCTAVO_DEVICE std::uint64_t num_in_bins(Team& team, Scratch& scratch, int num_bins) {
  std::uint64_t num = 0;
  for (int bin = team.thread(); bin < num_bins; bin += team.num_threads()) num += scratch.bins[bin];
  return team_sum(team, scratch, num);
}

// The least rank among the `num_best` (>= 1) best above floor, after fill_bins; gives the candidates that it was found among.
template <typename Team>
OCTAVO_DEVICE Rank cut_to_best(Team& team, Scratch& scratch, const float* x, int count, float max, float floor, std::uint64_t num_best,
                               Candidates& candidates) {
  const Crossing crossing = find_crossing(team, scratch, kBins, num_best, [&](int bin) { return std::uint64_t{scratch.bins[bin]}; });
  const int num_bins = crossing.bin + 1;
  candidates = gather(team, scratch, x, count, max, floor, num_bins, num_in_bins(team, scratch, num_bins));
  return select(team, scratch, candidates, 0, num_best, [](Rank) { return std::uint64_t{1}; });
}

struct Filters {
  std::int32_t top_k;  // 0: all
  float top_p;
  float min_p;
  float top_n_sigma;  // 0: all
};

OCTAVO_DEVICE float just_below(float x) { return nextafterf(x, -INFINITY); }

OCTAVO_DEVICE bool is_finite(float x) { return x > -INFINITY && x < INFINITY; }

// The standard deviation (of all, not of a sample) of the logits that are not barred, in two passes, so that nothing cancels.
template <typename Team>
OCTAVO_DEVICE double deviation(Team& team, Scratch& scratch, const float* x, int count) {
  std::uint64_t num = 0;
  double sum = 0.0, squares = 0.0;
  for_each(team, x, count, [&](int, float value) {
    if (!is_finite(value)) return;
    sum += static_cast<double>(value);
    ++num;
  });
  const double total = static_cast<double>(team_sum(team, scratch, num)), mean = team_sum(team, scratch, sum) / total;
  for_each(team, x, count, [&](int, float value) {
    if (is_finite(value)) squares += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean);
  });
  return sqrt(team_sum(team, scratch, squares) / total);
}

OCTAVO_DEVICE std::uint64_t share_of(float top_p, std::uint64_t total) {
  const auto target = static_cast<std::uint64_t>(ceil(static_cast<double>(top_p) * static_cast<double>(total)));
  return target < 1 ? 1 : target;
}

// Weights of the tokens that pass min_p, top_n_sigma, top_k and top_p, in this order (meanings as in sampling/draw.h).
template <typename Team>
OCTAVO_DEVICE Weights filter(Team& team, Scratch& scratch, const float* x, int count, float max, float temperature,
                             const Filters& filters) {
  Weights weights{max, temperature, -INFINITY, 0};
  if (filters.min_p > 0.0f) {
    weights.floor = just_below(
        static_cast<float>(static_cast<double>(max) + static_cast<double>(temperature) * log(static_cast<double>(filters.min_p))));
  }
  if (filters.top_n_sigma > 0.0f) {
    const double spread = static_cast<double>(filters.top_n_sigma) * deviation(team, scratch, x, count);
    weights.floor = fmaxf(weights.floor, just_below(static_cast<float>(static_cast<double>(max) - spread)));
  }
  const bool by_count = filters.top_k > 0 && filters.top_k < count, by_share = filters.top_p < 1.0f;
  if (!by_count && !by_share) return weights;
  const std::uint64_t num_above = fill_bins(team, scratch, x, count, max, weights.floor);
  const auto weight_of_rank = [&](Rank rank) { return weights.of_value(value_of(rank)); };
  Candidates candidates{};
  std::uint64_t total = 0;
  if (by_count) {
    const std::uint64_t num_best = static_cast<std::uint64_t>(filters.top_k) < num_above ? filters.top_k : num_above;
    weights.cut = cut_to_best(team, scratch, x, count, max, weights.floor, num_best, candidates);
    if (!by_share) return weights;
    candidates.for_each_rank(team, scratch, [&](Rank rank) { total += rank >= weights.cut ? weight_of_rank(rank) : 0; });
    total = team_sum(team, scratch, total);
  } else {
    for_each(team, x, count, [&](int i, float value) { total += weights.of(value, i); });
    total = team_sum(team, scratch, total);
    // Bins that surely reach the share: every logit of a bin weighs at least what one at its end does.
    const Crossing crossing = find_crossing(team, scratch, kBins, share_of(filters.top_p, total), [&](int bin) {
      const float end = max - (static_cast<float>(bin) + 1.01f) / kBinsPerUnit;
      return bin == kBins - 1 ? std::uint64_t{0} : scratch.bins[bin] * weights.of_value(end);
    });
    const int num_bins = crossing.bin + 1;
    candidates = gather(team, scratch, x, count, max, weights.floor, num_bins, num_in_bins(team, scratch, num_bins));
  }
  weights.cut = select(team, scratch, candidates, weights.cut, share_of(filters.top_p, total), weight_of_rank);
  return weights;
}

// ---- reports

struct Report {
  float logprob;
  std::int32_t rank;     // 1 + number of larger logits
  std::int32_t num_top;  // entries of the lists
};

// Log-probability and rank of a token, and the num_top (<= kMaxTop) best tokens, best first, into top_ids and top_logprobs. x has a finite
// largest value `max`.
template <typename Team>
OCTAVO_DEVICE Report report(Team& team, Scratch& scratch, const float* x, int count, float max, std::int32_t token_id, int num_top,
                            std::int32_t* top_ids, float* top_logprobs) {
  const Weights weights{max, 1.0f, -INFINITY, 0};
  const float logit = x[token_id];
  std::uint64_t total = 0, num_larger = 0;
  for_each(team, x, count, [&](int i, float value) {
    total += weights.of(value, i);
    num_larger += value > logit;
  });
  total = team_sum(team, scratch, total);
  num_larger = team_sum(team, scratch, num_larger);
  const double normaliser = static_cast<double>(max) + log(static_cast<double>(total) / kWeightOne);
  Report result{static_cast<float>(logit - normaliser), static_cast<std::int32_t>(1 + num_larger), 0};
  if (num_top == 0) return result;
  const std::uint64_t num_above = fill_bins(team, scratch, x, count, max, -INFINITY);
  const std::uint64_t num_best = static_cast<std::uint64_t>(num_top) < num_above ? num_top : num_above;
  Candidates candidates{};
  const Rank cut = cut_to_best(team, scratch, x, count, max, -INFINITY, num_best, candidates);
  result.num_top = static_cast<std::int32_t>(num_best);
  team.sync();                                // everyone has read what select() found
  if (team.thread() == 0) scratch.found = 0;  // from here on: how many have come
  auto* num_found = reinterpret_cast<std::uint32_t*>(&scratch.found);
  team.sync();
  candidates.for_each_rank(team, scratch, [&](Rank rank) {
    if (rank >= cut) scratch.top[team.atomic_add(num_found, 1u)] = rank;
  });
  team.sync();
  for (int i = team.thread(); i < result.num_top; i += team.num_threads()) {
    int place = 0;
    for (int other = 0; other < result.num_top; ++other) place += scratch.top[other] > scratch.top[i];
    top_ids[place] = id_of(scratch.top[i]);
    top_logprobs[place] = static_cast<float>(value_of(scratch.top[i]) - normaliser);
  }
  team.sync();
  return result;
}

}  // namespace octavo::device

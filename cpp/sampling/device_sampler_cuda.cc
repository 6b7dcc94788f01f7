// The device sampler: what rows are, on the host; launches of sampling/sample_cuda.h; results through pinned memory.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cuda/check.h"
#include "cuda/memory.h"
#include "cuda/sampler.h"
#include "sampling/device_lists.h"
#include "sampling/device_select.h"
#include "sampling/row_state.h"
#include "sampling/sample_cuda.h"
#include "sampling/sampler.h"

namespace octavo::cuda {
namespace {

// Memory from the stream's pool: a row that starts or ends does not stop the device.
class StreamMemory {
 public:
  StreamMemory() = default;
  StreamMemory(std::size_t num_bytes, Stream stream, const char* what) : stream_(stream) {
    if (num_bytes > 0) check(cudaMallocAsync(&memory_, num_bytes, stream), what);
  }
  ~StreamMemory() {
    if (memory_ != nullptr) cudaFreeAsync(memory_, stream_);
  }
  StreamMemory(StreamMemory&& other) noexcept : memory_(std::exchange(other.memory_, nullptr)), stream_(other.stream_) {}
  StreamMemory& operator=(StreamMemory&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(stream_, other.stream_);
    return *this;
  }
  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
  Stream stream_ = nullptr;
};

struct Row {
  StreamMemory lists, counts;
  device::RowParameters parameters;
  std::int64_t num_outputs = 0;  // launched draws included

  // Whether the next draw is the most probable token of the logits as they are, without a report.
  bool is_plain() const {
    const bool below_min = parameters.num_blocked > 0 && num_outputs < parameters.min_tokens;
    return parameters.temperature == 0.0f && parameters.num_logprobs < 0 && !parameters.always_adjusts && !below_min;
  }
};

// Arrays of n entries in pinned memory, which kernels read and write; one for draws and one for scores of a slot.
struct Entries {
  Entries(std::size_t capacity)
      : inputs(pinned_array<std::int32_t>(4 * capacity, "the sampler's arrays")),
        drawn(pinned_array<DrawnToken>(capacity, "the sampler's arrays")),
        top_ids(pinned_array<std::int32_t>(capacity * device::kMaxTop, "the sampler's arrays")),
        top_logprobs(pinned_array<float>(capacity * device::kMaxTop, "the sampler's arrays")),
        capacity(capacity) {}

  std::int32_t* input(int which) const { return inputs.get() + static_cast<std::size_t>(which) * capacity; }
  SampleArrays arrays(bool masked = false) const {
    return {input(0), input(1), masked ? input(3) : nullptr, masks.get(), drawn.get(), top_ids.get(), top_logprobs.get()};
  }
  TokenReport report(std::size_t entry) const {
    const DrawnToken& token = drawn[entry];
    TokenReport report;
    report.logprob = token.logprob;
    report.rank = token.rank;
    const std::size_t lists = entry * device::kMaxTop;
    report.top_ids.assign(top_ids.get() + lists, top_ids.get() + lists + token.num_top);
    report.top_logprobs.assign(top_logprobs.get() + lists, top_logprobs.get() + lists + token.num_top);
    return report;
  }

  PinnedArray<std::int32_t> inputs;  // rows, logits_rows, num_tops, mask_rows of draws; token_ids, logits_rows, num_tops of scores
  PinnedArray<std::int32_t> masks;
  std::size_t masks_capacity = 0;
  PinnedArray<DrawnToken> drawn;
  PinnedArray<std::int32_t> top_ids;
  PinnedArray<float> top_logprobs;
  std::size_t capacity, count = 0;
};

int num_processors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "GPU");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "GPU");
  return count;
}

// Freed memory stays in the stream's pool, up to a bound, so that rows come and go without calls to the driver's allocator.
void keep_stream_memory() {
  int device = 0;
  cudaMemPool_t pool = nullptr;
  std::uint64_t kept = std::uint64_t{256} << 20;
  check(cudaGetDevice(&device), "GPU");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "memory of rows");
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "memory of rows");
}

class BlockSampler final : public DeviceSampler {
 public:
  BlockSampler(std::int64_t max_num_seqs, std::int64_t max_num_logits, std::int64_t vocab_size, int num_slots)
      : vocab_size_(vocab_size),
        num_processors_(num_processors()),
        rows_(static_cast<std::size_t>(max_num_seqs)),
        scheduled_(rows_.size(), 0),
        parameters_(device_array<device::RowParameters>(rows_.size(), "the sampler's rows")),
        progress_(device_array<device::RowProgress>(rows_.size(), "the sampler's rows")),
        last_ids_(device_array<std::int32_t>(rows_.size(), "the sampler's rows")),
        adjusted_stride_((vocab_size + 3) / 4 * 4),
        adjusted_(device_array<float>(static_cast<std::size_t>(num_processors_ * adjusted_stride_), "the sampler's logits")),
        greedy_scratch_(device_array<GreedyScratch>(static_cast<std::size_t>(max_num_logits), "the sampler's rows")) {
    require(max_num_seqs >= 1 && max_num_logits >= 1 && vocab_size >= 1 && num_slots >= 1,
            "sampler: max_num_seqs, max_num_logits, vocab_size and num_slots must be at least 1");
    check(cudaMemset(greedy_scratch_.get(), 0, static_cast<std::size_t>(max_num_logits) * sizeof(GreedyScratch)), "the sampler's rows");
    check(cudaMemset(last_ids_.get(), 0, rows_.size() * sizeof(std::int32_t)), "the sampler's rows");
    keep_stream_memory();
    for (int slot = 0; slot < 2 * num_slots; ++slot) slots_.emplace_back(static_cast<std::size_t>(max_num_logits));
  }

  void start_row(std::int64_t row, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens, const RowSampling& sampling,
                 Stream stream) override {
    require_free(row);
    check_sampling(sampling, token_ids, num_prompt_tokens);
    Row started = make_row(sampling, token_ids, stream);
    if (sampling.counts_tokens()) {
      const StreamMemory ids(static_cast<std::size_t>(token_ids.size) * sizeof(std::int32_t), stream, "a row's tokens");
      copy(ids.get(), token_ids.data, static_cast<std::size_t>(token_ids.size), stream);
      count_tokens(static_cast<const std::int32_t*>(ids.get()), token_ids.size, num_prompt_tokens, started.parameters.counts, vocab_size_,
                   stream);
    }
    started.num_outputs = token_ids.size - num_prompt_tokens;
    const device::RowProgress progress{token_ids.size, started.num_outputs,
                                       std::min<std::int32_t>(started.parameters.max_tail, static_cast<std::int32_t>(token_ids.size))};
    set_row(row, started.parameters, progress, token_ids.size > 0 ? token_ids[token_ids.size - 1] : 0, state(), stream);
    rows_[static_cast<std::size_t>(row)] = std::move(started);
  }

  void end_row(std::int64_t row) override {
    started(row);
    rows_[static_cast<std::size_t>(row)].reset();
  }

  void fork_row(std::int64_t from, std::int64_t to, const RowSampling& sampling, Stream stream) override {
    const Row& source = started(from);
    require_free(to);
    check_sampling(sampling, {nullptr, 0}, 0);
    Row forked = make_row(sampling, {nullptr, 0}, stream);
    const device::RowParameters &a = source.parameters, &b = forked.parameters;
    require((a.counts == nullptr) == (b.counts == nullptr) && a.max_tail == b.max_tail, "sampler: row ", to, " forks from row ", from,
            " with other penalties or bad words");
    const auto copy_device = [&](void* target, const void* origin, std::size_t num_bytes) {
      if (num_bytes > 0) check(cudaMemcpyAsync(target, origin, num_bytes, cudaMemcpyDeviceToDevice, stream), "a fork's state");
    };
    if (b.counts != nullptr) copy_device(b.counts, a.counts, static_cast<std::size_t>(vocab_size_) * sizeof(std::uint32_t));
    copy_device(b.tail, a.tail, static_cast<std::size_t>(b.max_tail) * sizeof(std::int32_t));
    copy_progress(from, to, b, state(), stream);
    forked.num_outputs = source.num_outputs;
    rows_[static_cast<std::size_t>(to)] = std::move(forked);
  }

  void append(std::int64_t row, Span<const std::int32_t> token_ids, Stream stream) override {
    Row& appended = started(row);
    for (std::int64_t i = 0; i < token_ids.size; ++i)
      require(token_ids[i] >= 0 && token_ids[i] < vocab_size_, "sampler: token ", token_ids[i], " of ", vocab_size_);
    for (std::int64_t first = 0; first < token_ids.size; first += kMostAppended) {
      AppendedTokens tokens{static_cast<std::int32_t>(std::min<std::int64_t>(kMostAppended, token_ids.size - first)), {}};
      std::copy_n(token_ids.data + first, tokens.count, tokens.ids);
      append_tokens(row, tokens, state(), stream);
    }
    appended.num_outputs += token_ids.size;
  }

  Matrix<std::int32_t> masks(std::int64_t count, int slot) override {
    Entries& entries = slot_of(slot, false);
    require(count >= 0 && count <= static_cast<std::int64_t>(entries.capacity), "sampler: ", count, " masks of at most ", entries.capacity);
    const std::int64_t words = (vocab_size_ + 31) / 32;
    const auto wanted = static_cast<std::size_t>(count * words);
    if (wanted > entries.masks_capacity) {
      entries.masks_capacity = std::max(wanted, 2 * entries.masks_capacity);
      entries.masks = pinned_array<std::int32_t>(entries.masks_capacity, "masks");
    }
    return {entries.masks.get(), count, words};
  }

  void launch(const DeviceMatrix& logits, Span<const std::int32_t> rows, Span<const std::int32_t> logits_rows,
              Span<const std::int32_t> masked, int slot, Stream stream) override {
    Entries& entries = slot_of(slot, false);
    check_logits(logits, logits_rows, rows.size, entries);
    check_rows(rows);
    check_masked(masked, rows.size, entries);
    bool plain = masked.size == 0;
    for (std::int64_t i = 0; i < rows.size; ++i) {
      const Row& row = started(rows[i]);
      plain = plain && row.is_plain();
      entries.input(0)[i] = rows[i];
      entries.input(1)[i] = logits_rows[i];
      entries.input(2)[i] = row.parameters.num_logprobs;
      entries.input(3)[i] = -1;
    }
    for (std::int64_t i = 0; i < masked.size; ++i) entries.input(3)[masked[i]] = static_cast<std::int32_t>(i);
    if (plain) {
      greedy(logits, entries.arrays(), static_cast<int>(rows.size), state(), greedy_scratch_.get(), num_processors_, stream);
    } else {
      sample(logits, entries.arrays(masked.size > 0), static_cast<int>(rows.size), state(), stream);
    }
    for (std::int64_t i = 0; i < rows.size; ++i) ++rows_[static_cast<std::size_t>(rows[i])]->num_outputs;
  }

  std::vector<SampledToken> collect(int slot) override {
    const Entries& entries = slot_of(slot, false);
    std::vector<SampledToken> sampled(entries.count);
    for (std::size_t i = 0; i < entries.count; ++i) {
      if (entries.drawn[i].token_id < 0) continue;
      sampled[i].token_id = entries.drawn[i].token_id;
      if (entries.input(2)[i] >= 0) sampled[i].report = entries.report(i);
    }
    return sampled;
  }

  void launch_scores(const DeviceMatrix& logits, Span<const std::int32_t> logits_rows, Span<const std::int32_t> token_ids,
                     Span<const std::int32_t> num_tops, int slot, Stream stream) override {
    Entries& entries = slot_of(slot, true);
    check_logits(logits, logits_rows, token_ids.size, entries);
    require(num_tops.size == token_ids.size, "sampler: ", num_tops.size, " counts of alternatives for ", token_ids.size, " tokens");
    for (std::int64_t i = 0; i < token_ids.size; ++i) {
      require(token_ids[i] >= 0 && token_ids[i] < vocab_size_, "sampler: token_ids[", i, "] is ", token_ids[i], ", not within 0..",
              vocab_size_ - 1);
      require_num_top(num_tops[i]);
      entries.input(0)[i] = token_ids[i];
      entries.input(1)[i] = logits_rows[i];
      entries.input(2)[i] = num_tops[i];
    }
    score(logits, entries.arrays(), entries.input(0), entries.input(2), static_cast<int>(token_ids.size), num_processors_, stream);
  }

  std::vector<std::optional<TokenReport>> collect_scores(int slot) override {
    const Entries& entries = slot_of(slot, true);
    std::vector<std::optional<TokenReport>> reports(entries.count);
    for (std::size_t i = 0; i < entries.count; ++i) {
      if (entries.drawn[i].token_id >= 0) reports[i] = entries.report(i);
    }
    return reports;
  }

  const std::int32_t* last_ids() const override { return last_ids_.get(); }

  std::int64_t num_bytes() const override {
    const auto num_rows = static_cast<std::int64_t>(rows_.size());
    const auto row_bytes = static_cast<std::int64_t>(sizeof(device::RowParameters) + sizeof(device::RowProgress) + sizeof(std::int32_t));
    return num_rows * row_bytes + num_processors_ * adjusted_stride_ * static_cast<std::int64_t>(sizeof(float));
  }

 private:
  static void require_num_top(std::int64_t num_top) {
    require(num_top <= device::kMaxTop, "num_logprobs is ", num_top, "; the GPU reports at most ", device::kMaxTop, " alternatives");
    require(num_top >= 0, "num_logprobs is ", num_top, "; it must be at least 0");
  }

  // The processor's sampler knows what is legal; its state of the row is made and dropped.
  void check_sampling(const RowSampling& sampling, Span<const std::int32_t> token_ids, std::int64_t num_prompt_tokens) const {
    RowState(sampling, token_ids, num_prompt_tokens, vocab_size_);
    require_num_top(sampling.num_logprobs.value_or(0));
  }

  static void copy(void* target, const std::int32_t* words, std::size_t count, Stream stream) {
    if (count == 0) return;
    check(cudaMemcpyAsync(target, words, count * sizeof *words, cudaMemcpyHostToDevice, stream), "a row's lists");
  }

  Row make_row(const RowSampling& sampling, Span<const std::int32_t> token_ids, Stream stream) {
    const DeviceLists lists = device_lists(sampling, token_ids);
    Row row;
    row.lists = StreamMemory(lists.words.size() * sizeof(std::int32_t), stream, "a row's lists");
    copy(row.lists.get(), lists.words.data(), lists.words.size(), stream);
    row.parameters = lists.place(static_cast<std::int32_t*>(row.lists.get()));
    if (sampling.counts_tokens()) {
      row.counts = StreamMemory(static_cast<std::size_t>(vocab_size_) * sizeof(std::uint32_t), stream, "a row's token counts");
      row.parameters.counts = static_cast<std::uint32_t*>(row.counts.get());
    }
    return row;
  }

  Row& started(std::int64_t row) {
    require(row >= 0 && row < static_cast<std::int64_t>(rows_.size()) && rows_[static_cast<std::size_t>(row)], "sampler: row ", row,
            " is not started");
    return *rows_[static_cast<std::size_t>(row)];
  }
  void require_free(std::int64_t row) const {
    require(row >= 0 && row < static_cast<std::int64_t>(rows_.size()), "sampler: row ", row, " of ", rows_.size());
    require(!rows_[static_cast<std::size_t>(row)], "sampler: row ", row, " is in use; end it first");
  }

  void check_logits(const DeviceMatrix& logits, Span<const std::int32_t> logits_rows, std::int64_t count, Entries& entries) const {
    require(logits.cols == vocab_size_ && logits_rows.size == count, "sampler: logits [", logits.rows, ", ", logits.cols, "] and ",
            logits_rows.size, " logits rows for ", count, " draws of ", vocab_size_);
    require(count <= static_cast<std::int64_t>(entries.capacity), "sampler: ", count, " draws of at most ", entries.capacity);
    for (std::int64_t i = 0; i < count; ++i) {
      require(logits_rows[i] >= 0 && logits_rows[i] < logits.rows, "sampler: logits_rows[", i, "] is ", logits_rows[i], " of ", logits.rows,
              " rows of logits");
    }
    entries.count = static_cast<std::size_t>(count);
  }

  void check_rows(Span<const std::int32_t> rows) {
    for (std::int64_t i = 0; i < rows.size; ++i) started(rows[i]);
    bool repeated = false;
    for (std::int64_t i = 0; i < rows.size; ++i) repeated |= std::exchange(scheduled_[static_cast<std::size_t>(rows[i])], 1) != 0;
    for (std::int64_t i = 0; i < rows.size; ++i) scheduled_[static_cast<std::size_t>(rows[i])] = 0;
    require(!repeated, "sampler: a row is named twice");
  }

  void check_masked(Span<const std::int32_t> masked, std::int64_t count, const Entries& entries) const {
    require(masked.size * ((vocab_size_ + 31) / 32) <= static_cast<std::int64_t>(entries.masks_capacity), "sampler: ", masked.size,
            " masks were not asked for");
    for (std::int64_t i = 0; i < masked.size; ++i)
      require(masked[i] >= 0 && masked[i] < count, "sampler: mask ", i, " is for draw ", masked[i], " of ", count);
  }

  Entries& slot_of(int slot, bool scores) {
    require(slot >= 0 && 2 * slot < static_cast<int>(slots_.size()), "sampler: slot ", slot);
    return slots_[static_cast<std::size_t>(2 * slot + scores)];
  }

  SampleState state() const {
    return {parameters_.get(), progress_.get(), last_ids_.get(), adjusted_.get(), adjusted_stride_, num_processors_};
  }

  std::int64_t vocab_size_;
  int num_processors_;
  std::vector<std::optional<Row>> rows_;
  std::vector<char> scheduled_;  // rows of the call under way: a row named twice is a mistake
  DeviceArray<device::RowParameters> parameters_;
  DeviceArray<device::RowProgress> progress_;
  DeviceArray<std::int32_t> last_ids_;
  std::int64_t adjusted_stride_;
  DeviceArray<float> adjusted_;
  DeviceArray<GreedyScratch> greedy_scratch_;
  std::vector<Entries> slots_;
};

}  // namespace

std::unique_ptr<DeviceSampler> make_device_sampler(std::int64_t max_num_seqs, std::int64_t max_num_logits, std::int64_t vocab_size,
                                                   int num_slots) {
  return std::make_unique<BlockSampler>(max_num_seqs, max_num_logits, vocab_size, num_slots);
}

}  // namespace octavo::cuda

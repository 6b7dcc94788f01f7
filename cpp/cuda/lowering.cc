#include "cuda/lowering.h"

namespace octavo::cuda {

DeviceMatrix Frame::operator[](program::ValueId x) const {
  const program::Value& value = graph_.values[static_cast<std::size_t>(x)];
  const program::Storage& storage = graph_.storages[static_cast<std::size_t>(value.storage)];
  const DType type = storage.type == program::ValueType::activation ? activation_
                     : storage.type == program::ValueType::float32  ? DType::f32
                                                                    : DType::i32;
  const auto bytes = static_cast<std::int64_t>(size_of(type));
  return {arena_ + layout_.storage_offsets[static_cast<std::size_t>(value.storage)] + value.first_col * bytes,
          row_counts_[static_cast<std::size_t>(storage.rows)] * storage.rows_factor, value.cols, storage.cols, type};
}

void Frame::set_rows(const std::string& count, std::int64_t rows) {
  for (std::size_t i = 0; i < row_counts_.size(); ++i) {
    if (graph_.row_counts[i] == count) row_counts_[i] = rows;
  }
}

const program::Op* OpLowering::next(int distance) const {
  const auto at = static_cast<std::size_t>(index_ + distance);
  return at < context.graph.ops.size() ? &context.graph.ops[at] : nullptr;
}

}  // namespace octavo::cuda

// The order in which free blocks are taken: a circular doubly linked list threaded through one flat array.
//
// Every operation is O(1) and none allocates. The list does not know which blocks it holds; its owner does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace octavo::cache {

using BlockId = std::int32_t;

class FreeList {
 public:
  // Holds blocks 0 .. num_blocks - 1, in that order.
  explicit FreeList(std::int32_t num_blocks) : anchor_(num_blocks), size_(num_blocks), links_(static_cast<std::size_t>(num_blocks) + 1) {
    for (BlockId id = 0; id <= anchor_; ++id) links_[id] = {id == 0 ? anchor_ : id - 1, id == anchor_ ? 0 : id + 1};
  }

  std::int32_t size() const { return size_; }

  void push_front(BlockId id) { insert_after(anchor_, id); }
  void push_back(BlockId id) { insert_after(links_[anchor_].previous, id); }

  // The list must not be empty.
  BlockId pop_front() {
    const BlockId id = links_[anchor_].next;
    remove(id);
    return id;
  }

  void remove(BlockId id) {
    const Link link = links_[id];
    links_[link.previous].next = link.next;
    links_[link.next].previous = link.previous;
    --size_;
  }

  // Calls visit(id) front to back while links agree and visit returns true. Returns whether the whole list was walked.
  template <typename Visit>
  bool walk(Visit visit) const {
    std::int32_t count = 0;
    BlockId previous = anchor_;
    for (BlockId id = links_[anchor_].next; id != anchor_; previous = id, id = links_[id].next) {
      if (links_[id].previous != previous || ++count > size_ || !visit(id)) return false;
    }
    return count == size_ && links_[anchor_].previous == previous;
  }

 private:
  struct Link {
    BlockId previous;
    BlockId next;
  };

  void insert_after(BlockId previous, BlockId id) {
    const BlockId next = links_[previous].next;
    links_[id] = {previous, next};
    links_[previous].next = id;
    links_[next].previous = id;
    ++size_;
  }

  BlockId anchor_;  // one past the last block: joins the list's two ends
  std::int32_t size_;
  std::vector<Link> links_;
};

}  // namespace octavo::cache

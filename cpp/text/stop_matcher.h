// Finds the first of several stop strings in a stream of text, across the borders of its pieces.
//
// First is the one that is complete first, because that is where generation ends; of several that end at the same place, the
// longest. The result depends on the text alone, never on how it was cut into pieces. Each stop string is followed with the
// automaton of Knuth, Morris & Pratt (SIAM J. Comput. 6, 1977): O(1) amortised per byte, and its state is the length of the text's
// end that may begin the string, which is what has to be held back. UTF-8 synchronises itself, so bytes are matched and yet
// what is emitted ends between characters.
//
// Copies share the automatons, which nobody changes: one for each stop string of a request, however many choices follow it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace octavo::text {

struct StopMatch {
  std::string text;                 // can be emitted
  std::optional<std::string> stop;  // the stop string found by this push
};

class StopMatcher {
 public:
  // Throws std::invalid_argument naming the position of an empty stop string. include_stop: emit the stop string too.
  StopMatcher(const std::vector<std::string>& stops, bool include_stop);

  // `text` is whole characters. After a match nothing more is emitted and nothing more is found.
  StopMatch push(std::string_view text);
  // The text still held back.
  std::string finish();

 private:
  struct Automaton {
    std::string stop;
    std::vector<std::size_t> border;  // border[i]: longest proper prefix of stop[0, i] that is its suffix too
  };

  // One stop string and how much of it the text's end matches.
  class Pattern {
   public:
    explicit Pattern(std::string stop);
    const std::string& stop() const { return automaton_->stop; }
    std::size_t matched() const { return matched_; }
    // Returns whether the stop string ends with this byte. It must not be called again after that.
    bool advance(char byte);

   private:
    std::shared_ptr<const Automaton> automaton_;
    std::size_t matched_ = 0;
  };

  // The longest stop string that ends with this byte.
  const Pattern* advance(char byte);
  std::size_t num_undecided() const;

  std::vector<Pattern> patterns_;
  bool include_stop_;
  bool found_ = false;
  std::string held_;
};

}  // namespace octavo::text

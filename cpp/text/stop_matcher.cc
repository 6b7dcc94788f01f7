#include "text/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace octavo::text {

StopMatcher::Pattern::Pattern(std::string stop) {
  std::vector<std::size_t> border(stop.size());
  std::size_t length = 0;
  for (std::size_t i = 1; i < stop.size(); ++i) {
    while (length > 0 && stop[i] != stop[length]) length = border[length - 1];
    if (stop[i] == stop[length]) ++length;
    border[i] = length;
  }
  automaton_ = std::make_shared<const Automaton>(Automaton{std::move(stop), std::move(border)});
}

bool StopMatcher::Pattern::advance(char byte) {
  const Automaton& automaton = *automaton_;
  while (matched_ > 0 && byte != automaton.stop[matched_]) matched_ = automaton.border[matched_ - 1];
  if (byte == automaton.stop[matched_]) ++matched_;
  return matched_ == automaton.stop.size();
}

StopMatcher::StopMatcher(const std::vector<std::string>& stops, bool include_stop) : include_stop_(include_stop) {
  patterns_.reserve(stops.size());
  for (std::size_t i = 0; i < stops.size(); ++i) {
    require(!stops[i].empty(), "stops[", i, "] is empty; an empty text is found everywhere");
    patterns_.emplace_back(stops[i]);
  }
}

StopMatch StopMatcher::push(std::string_view text) {
  if (found_) return {};
  for (std::size_t i = 0; i < text.size(); ++i) {
    const Pattern* match = advance(text[i]);
    if (match == nullptr) continue;
    found_ = true;
    held_.append(text.substr(0, i + 1));
    if (!include_stop_) held_.resize(held_.size() - match->stop().size());
    return {std::exchange(held_, {}), match->stop()};
  }
  held_.append(text);
  StopMatch result{held_.substr(0, held_.size() - num_undecided()), std::nullopt};
  held_.erase(0, result.text.size());
  return result;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

const StopMatcher::Pattern* StopMatcher::advance(char byte) {
  const Pattern* longest = nullptr;
  for (Pattern& pattern : patterns_) {
    if (pattern.advance(byte) && (longest == nullptr || pattern.stop().size() > longest->stop().size())) longest = &pattern;
  }
  return longest;
}

std::size_t StopMatcher::num_undecided() const {
  std::size_t count = 0;
  for (const Pattern& pattern : patterns_) count = std::max(count, pattern.matched());
  return count;
}

}  // namespace octavo::text

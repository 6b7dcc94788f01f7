// Bytes to valid UTF-8, incrementally.
//
// What can never become valid is replaced by U+FFFD, one for each maximal subpart of an ill-formed sequence (The Unicode Standard,
// 3.9, "U+FFFD Substitution of Maximal Subparts"), which is what Python's errors="replace" and the WHATWG decoder do. A sequence
// that is valid so far and lacks bytes is held back, at most three bytes of it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace octavo::text {

class Utf8Decoder {
 public:
  // Appends to `text` the characters that are decided once `bytes` are known.
  void push(std::string_view bytes, std::string& text);
  // Appends the replacement of what is held back, if anything; the decoder is as new.
  void finish(std::string& text);

 private:
  using Byte = unsigned char;

  void begin(Byte lead, std::string& text);
  void extend(Byte byte, std::string& text);

  Byte held_[3] = {};
  std::size_t num_held_ = 0;
  std::size_t length_ = 0;  // of the held character when complete
  Byte next_min_ = 0;       // bounds of the next byte of the held character
  Byte next_max_ = 0;
};

}  // namespace octavo::text

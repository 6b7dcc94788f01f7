#include "text/utf8_decoder.h"

#include <algorithm>

namespace octavo::text {

namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD
constexpr unsigned char kContinuationMin = 0x80;
constexpr unsigned char kContinuationMax = 0xBF;

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// The Unicode Standard, table 3-7: length of the character that a byte leads, 0 where it leads none.
std::size_t character_length(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0;
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  if (lead < 0xF5) return 4;
  return 0;
}

// The same table: the second byte's bounds shut out overlong forms, surrogates and what lies past U+10FFFF.
unsigned char second_byte_min(unsigned char lead) { return lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : kContinuationMin; }
unsigned char second_byte_max(unsigned char lead) { return lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : kContinuationMax; }

}  // namespace

void Utf8Decoder::push(std::string_view bytes, std::string& text) {
  for (std::size_t i = 0; i < bytes.size();) {
    if (num_held_ > 0) {
      const auto byte = static_cast<Byte>(bytes[i]);
      if (byte < next_min_ || byte > next_max_) {
        finish(text);  // the byte may lead a character of its own
        continue;
      }
      extend(byte, text);
      ++i;
    } else if (is_ascii(bytes[i])) {
      const auto end = std::find_if_not(bytes.begin() + i, bytes.end(), is_ascii) - bytes.begin();
      text.append(bytes.substr(i, end - i));
      i = end;
    } else {
      begin(static_cast<Byte>(bytes[i++]), text);
    }
  }
}

void Utf8Decoder::finish(std::string& text) {
  if (num_held_ > 0) text.append(kReplacement);
  num_held_ = 0;
}

void Utf8Decoder::begin(Byte lead, std::string& text) {
  length_ = character_length(lead);
  if (length_ == 0) {
    text.append(kReplacement);
    return;
  }
  held_[num_held_++] = lead;
  next_min_ = second_byte_min(lead);
  next_max_ = second_byte_max(lead);
}

void Utf8Decoder::extend(Byte byte, std::string& text) {
  if (num_held_ + 1 == length_) {
    text.append(held_, held_ + num_held_);
    text.push_back(static_cast<char>(byte));
    num_held_ = 0;
    return;
  }
  held_[num_held_++] = byte;
  next_min_ = kContinuationMin;
  next_max_ = kContinuationMax;
}

}  // namespace octavo::text

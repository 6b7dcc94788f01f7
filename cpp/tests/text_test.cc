// UTF-8 decoder, detokenizer, stop matcher. Python's codecs and str.find are their oracles in tests/properties.
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "text/detokenizer.h"
#include "text/stop_matcher.h"
#include "text/token_table.h"
#include "text/utf8_decoder.h"

namespace octavo::text {
namespace {

const std::string kReplacement = "\xEF\xBF\xBD";

std::string decoded_byte_by_byte(const std::string& bytes) {
  Utf8Decoder decoder;
  std::string text;
  for (const char byte : bytes) decoder.push({&byte, 1}, text);
  decoder.finish(text);
  return text;
}

TEST(Utf8Decoder, KeepsValidTextAsItIs) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x90\x99 z";
  EXPECT_EQ(decoded_byte_by_byte(text), text);
  std::string whole;
  Utf8Decoder().push(text, whole);
  EXPECT_EQ(whole, text);
}

// The Unicode Standard, table 3-8: the example of maximal subparts.
TEST(Utf8Decoder, ReplacesEachMaximalSubpart) {
  const std::string r = kReplacement;
  EXPECT_EQ(decoded_byte_by_byte("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"), "a" + r + r + r + "b" + r + "c" + r + r + "d");
}

TEST(Utf8Decoder, ReplacesOverlongFormsSurrogatesAndWhatLiesPastTheLastPlane) {
  const std::string r = kReplacement;
  EXPECT_EQ(decoded_byte_by_byte("\xC0\xAF"), r + r);
  EXPECT_EQ(decoded_byte_by_byte("\xE0\x80\x80"), r + r + r);
  EXPECT_EQ(decoded_byte_by_byte("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(decoded_byte_by_byte("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(decoded_byte_by_byte("\xF0\x9F\x90"), r);
}

TEST(Detokenizer, ShowsSpecialTokensWhereAsked) {
  const auto table = std::make_shared<TokenTable>(std::vector<std::string_view>{" a", "</s>"}, std::vector<std::int32_t>{1}, true);
  EXPECT_EQ(Detokenizer(table, true).push({1, 0, 0, 1}), "a a");
  EXPECT_EQ(Detokenizer(table, false).push({0, 1}), "a</s>");
  EXPECT_THROW(Detokenizer(table, true).push({2}), std::invalid_argument);
  EXPECT_THROW(Detokenizer(nullptr, true), std::invalid_argument);
}

TEST(Detokenizer, IsAsNewAfterFinish) {
  const auto table = std::make_shared<TokenTable>(std::vector<std::string_view>{" a\xF0\x9F"}, std::vector<std::int32_t>{}, true);
  Detokenizer detokenizer(table, true);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(detokenizer.push({0}), "a");
    EXPECT_EQ(detokenizer.finish(), kReplacement);
  }
}

TEST(StopMatcher, HoldsBackWhatMayBeginAStopString) {
  StopMatcher matcher({"abab!"}, false);
  EXPECT_EQ(matcher.push("xab").text, "x");
  EXPECT_EQ(matcher.push("abab").text, "ab");  // the last four may still begin it
  const StopMatch match = matcher.push("!rest");
  EXPECT_EQ(match.text, "");
  EXPECT_EQ(match.stop, "abab!");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, TakesTheStringThatIsCompleteFirstAndThenTheLongest) {
  StopMatcher first({"abcd", "bc"}, false);
  EXPECT_EQ(first.push("abcd").stop, "bc");
  StopMatcher longest({"c", "abc", "bc"}, true);
  const StopMatch match = longest.push("xabcx");
  EXPECT_EQ(match.stop, "abc");
  EXPECT_EQ(match.text, "xabc");
}

TEST(StopMatcher, GivesBackAFalseStartAtTheEnd) {
  StopMatcher matcher({"\xF0\x9F\x90\x99stop"}, false);
  EXPECT_EQ(matcher.push("a\xF0\x9F\x90\x98\xF0\x9F\x90\x99").text, "a\xF0\x9F\x90\x98");
  EXPECT_EQ(matcher.finish(), "\xF0\x9F\x90\x99");
}

}  // namespace
}  // namespace octavo::text

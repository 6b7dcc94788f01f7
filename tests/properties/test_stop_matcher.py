"""The stop matcher against `str.find` on the whole text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo._runtime import StopMatcher

# Few letters, some of them sharing UTF-8 bytes: overlaps and false starts are frequent.
ALPHABET = "abéèê🐙🐘"
texts = st.text(ALPHABET, max_size=8)
stop_lists = st.lists(st.text(ALPHABET, min_size=1, max_size=4), max_size=4)


def first_stop(text: str, stops: list[str]) -> tuple[int, str] | None:
    """The stop string that is complete first, the longest of several that end together, and where it begins."""
    found = [(text.find(stop), stop) for stop in stops if stop in text]
    return min(found, key=lambda match: (match[0] + len(match[1]), match[0]), default=None)


def decided(text: str, stops: list[str]) -> str:
    """The text without the longest end of it that may begin a stop string."""
    undecided = (n for n in range(len(text), 0, -1) if any(stop.startswith(text[-n:]) for stop in stops))
    return text[: len(text) - next(undecided, 0)]


@given(pieces=st.lists(texts, max_size=8), stops=stop_lists, include=st.booleans())
def test_stops_are_those_of_str_find(pieces: list[str], stops: list[str], include: bool) -> None:
    matcher = StopMatcher(stops, include)
    text = emitted = ""
    for piece in pieces:
        text += piece
        new, stop = matcher.push(piece)
        emitted += new
        match = first_stop(text, stops)
        if match is None:
            assert stop is None
            assert emitted == decided(text, stops)
            continue
        assert stop == match[1]
        assert emitted == text[: match[0]] + (stop if include else "")
        assert matcher.push("aé🐙" * 3) == ("", None)
        assert matcher.finish() == ""
        return
    assert emitted + matcher.finish() == text


@pytest.mark.parametrize("include", [False, True])
def test_a_stop_string_is_found_across_single_characters(include: bool) -> None:
    matcher = StopMatcher(["###", "\n\nUser:"], include)
    results = [matcher.push(character) for character in "hi\n\n\nUser: no"]
    assert "".join(text for text, _ in results) == "hi\n" + ("\n\nUser:" if include else "")
    assert [stop for _, stop in results if stop] == ["\n\nUser:"]


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert StopMatcher([], False).push("text") == ("text", None)


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stops\[1\]"):
        StopMatcher(["a", ""], False)


def test_a_fork_goes_its_own_way():
    matcher = StopMatcher(["abc"], False)
    other = matcher.fork()
    assert (matcher.push("xab"), other.push("ab")) == (("x", None), ("", None))
    assert (matcher.push("c"), other.push("d")) == (("", "abc"), ("abd", None))

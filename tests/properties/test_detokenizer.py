"""The detokenizer against Python's own decoder, however the bytes are split into tokens and the tokens into pushes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octavo._runtime import Detokenizer, TokenTable

# Bytes at the borders of what UTF-8 allows: broken sequences of every kind are frequent.
EDGES = bytes(
    [0x00, 0x20, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xFF]
)
edge_bytes = st.lists(st.sampled_from(list(EDGES)), max_size=4).map(bytes)
pieces = st.lists(st.one_of(st.binary(max_size=5), edge_bytes), min_size=1, max_size=12)


@st.composite
def split_text(draw: st.DrawFn) -> list[bytes]:
    data = draw(st.text("a é€漢🐙\x00", max_size=20)).encode()
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def shown_bytes(pieces: list[bytes], special: set[int], ids: list[int], skip: bool, strip: bool) -> bytes:
    data = b"".join(pieces[i] for i in ids if not (skip and i in special))
    return data.removeprefix(b" ") if strip else data


def without_unfinished_character(data: bytes) -> bytes:
    for length in (3, 2, 1):
        try:
            data[-length:].decode()
        except UnicodeDecodeError as error:
            if error.start == 0 and error.reason == "unexpected end of data":
                return data[:-length]
    return data


@given(pieces=st.one_of(pieces, split_text()), skip=st.booleans(), strip=st.booleans(), data=st.data())
def test_text_is_that_of_the_bytes_known_so_far(pieces: list[bytes], skip: bool, strip: bool, data: st.DataObject) -> None:
    special = data.draw(st.sets(st.integers(0, len(pieces) - 1), max_size=2))
    ids = data.draw(st.one_of(st.just(list(range(len(pieces)))), st.lists(st.integers(0, len(pieces) - 1), max_size=20)))
    detokenizer = Detokenizer(TokenTable(pieces, sorted(special), strip), skip)
    text = ""
    taken = 0
    while taken < len(ids):
        count = data.draw(st.integers(1, len(ids) - taken))
        text += detokenizer.push(ids[taken : taken + count])
        taken += count
        so_far = shown_bytes(pieces, special, ids[:taken], skip, strip)
        assert text == without_unfinished_character(so_far).decode("utf-8", errors="replace")
    text += detokenizer.finish()
    assert text == shown_bytes(pieces, special, ids, skip, strip).decode("utf-8", errors="replace")


def test_every_pair_of_bytes_decodes_as_in_python() -> None:
    detokenizer = Detokenizer(TokenTable([bytes([byte]) for byte in range(256)], [], False), True)
    for first in range(256):
        for second in range(256):
            text = detokenizer.push([first, second]) + detokenizer.finish()
            assert text == bytes([first, second]).decode("utf-8", errors="replace")


def test_an_emoji_of_four_tokens_comes_out_whole() -> None:
    detokenizer = Detokenizer(TokenTable([bytes([byte]) for byte in "🐙".encode()], [], False), True)
    assert [detokenizer.push([i]) for i in range(4)] == ["", "", "", "🐙"]
    assert detokenizer.finish() == ""


def test_only_the_first_space_of_the_text_is_stripped() -> None:
    table = TokenTable([b"", b" a", b"<s>"], [2], True)
    skipping = Detokenizer(table, True)
    assert [skipping.push([i]) for i in (0, 2, 1, 1)] == ["", "", "a", " a"]
    assert Detokenizer(table, False).push([2, 1]) == "<s> a"


@pytest.mark.parametrize("token_id", [-1, 2, 2**31 - 1])
def test_an_unknown_id_is_named_and_takes_no_token(token_id: int) -> None:
    detokenizer = Detokenizer(TokenTable([b"a", b"b"], [], False), True)
    with pytest.raises(ValueError, match=str(token_id)):
        detokenizer.push([0, token_id])
    assert detokenizer.push([1]) == "b"


def test_a_table_refuses_what_is_not_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="token id 3"):
        TokenTable([b"a"], [3], False)
    with pytest.raises(TypeError, match=r"pieces\[1\]"):
        TokenTable([b"a", "b"], [], False)  # type: ignore[list-item]

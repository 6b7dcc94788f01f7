"""Tables of plain text."""

from __future__ import annotations

from octavo.cli.table import format_table


def test_columns_are_as_wide_as_their_longest_text():
    assert format_table([("", "found"), ("ok", "x"), ("problem", "yy")], 80) == "         found\nok       x\nproblem  yy"


def test_long_texts_are_wrapped_and_nothing_is_lost():
    text = "one two three four five six seven eight nine ten"
    lines = format_table([("a", text), ("b", "/a/path/without/any/space/in/it")], 24).splitlines()
    assert max(map(len, lines)) <= 24
    assert " ".join(line[3:] for line in lines[:-2]).split() == text.split()
    assert "".join(line[3:] for line in lines[-2:]) == "/a/path/without/any/space/in/it"


def test_an_empty_text_still_has_its_line():
    assert format_table([("", "")], 40) == ""
    assert format_table([("a", ""), ("b", "c")], 40) == "a\nb  c"

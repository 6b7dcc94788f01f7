"""Every family's format in one piece, in every possible piece, and damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octavo.errors import InvalidRequestError
from octavo.parsers import CallArguments, CallStart, Reasoning, Text, joined, open_parser, parser_name

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "where": {"anyOf": [{"type": "object"}, {"type": "null"}]},
                },
            },
        },
    },
]
CITY = '{"city": "Paris \\"é\\"", "days": 3}'
CALL = '{"name": "get_weather", "arguments": ' + CITY + "}"
PARIS = {"city": 'Paris "é"', "days": 3}
TWO = [("get_weather", PARIS), ("now", {})]

# family -> text, what it says before the calls, the calls
FORMATS = {
    "hermes": (
        f'Let me see.\n<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>',
        "Let me see.",
        TWO,
    ),
    "mistral": (f'[TOOL_CALLS] [{CALL}, {{"arguments": {{}}, "name": "now"}}]', "", TWO),
    "llama3_json": (f'<|python_tag|>{CALL.replace("arguments", "parameters")}; {{"name": "now", "parameters": {{}}}}', "", TWO),
    "granite": (f'<|tool_call|>[{CALL}, {{"name": "now", "arguments": {{}}}}]', "", TWO),
    "cohere": (
        "<|START_THINKING|>hm<|END_THINKING|><|START_ACTION|>[\n"
        f'{{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {CITY}}},\n'
        '{"tool_call_id": "1", "tool_name": "now", "parameters": {}}\n]<|END_ACTION|>',
        "",
        TWO,
    ),
    "deepseek": (
        f"Wait.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{CITY}\n```<｜tool▁call▁end｜>\n"
        "<｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Wait.",
        TWO,
    ),
    "kimi": (
        f"<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>{CITY}<|tool_call_end|>"
        "<|tool_call_begin|>functions.now:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
        "",
        TWO,
    ),
    "harmony": (
        "<|channel|>analysis<|message|>hm<|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
        f"{CITY}<|call|><|start|>assistant to=functions.now<|channel|>commentary<|message|>{{}}<|call|>",
        "",
        TWO,
    ),
    "qwen3_coder": (
        'Yes.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis "é"\n</parameter>\n<parameter=days>\n3\n</parameter>\n'
        "</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        "Yes.",
        TWO,
    ),
    "glm4_moe": (
        '<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris "é"</arg_value>\n<arg_key>days</arg_key>\n'
        "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        "",
        TWO,
    ),
    "pythonic": ("""[get_weather(city='Paris "é"', days=3), now()]""", "", TWO),
    "gemma": (
        '<|tool_call>call:get_weather{city:<|"|>Paris "é"<|"|>,days:3}<tool_call|><start_function_call>call:now{}<end_function_call>',
        "",
        TWO,
    ),
}


def parse(family: str, pieces: list[str], template: str = "") -> list:
    parser = open_parser(family, template, "", TOOLS)
    events = [event for piece in pieces for event in parser.push(piece)]
    return [CallStart(event.index, "", event.name) if isinstance(event, CallStart) else event for event in joined(events + parser.finish())]


def calls_of(events: list) -> list[tuple[str, object]]:
    names = {event.index: event.name for event in events if isinstance(event, CallStart)}
    texts = {event.index: event.text for event in events if isinstance(event, CallArguments)}
    return [(name, json.loads(texts[index])) for index, name in sorted(names.items())]


def text_of(events: list) -> str:
    return "".join(event.text for event in events if isinstance(event, Text))


@pytest.mark.parametrize("family", FORMATS)
def test_calls_names_arguments_and_the_text_before_them(family: str) -> None:
    text, before, calls = FORMATS[family]
    events = parse(family, [text])
    assert text_of(events) == before
    assert calls_of(events) == calls


@pytest.mark.parametrize("family", FORMATS)
def test_any_cut_gives_the_same(family: str) -> None:
    text, _, _ = FORMATS[family]
    whole = parse(family, [text])
    assert parse(family, list(text)) == whole
    for cut in range(1, len(text)):
        assert parse(family, [text[:cut], text[cut:]]) == whole


@pytest.mark.parametrize("family", FORMATS)
def test_text_without_a_call_passes_whole(family: str) -> None:
    for text in ("Hello, [world] {x} <b>!", " spaced \n", '{"answer": 5}', "[1, 2]", "", "<tool", "a < b"):
        assert text_of(parse(family, list(text))) == text


ALPHABET = sorted(
    {
        piece
        for text, _, _ in FORMATS.values()
        for piece in ("{", "}", '"', "[", "]", "\\", "<", ">", ":", ",", "(", ")", "name", "=", " ", "\n")
    }
)


@settings(max_examples=60, deadline=None)
@given(family=st.sampled_from(sorted(FORMATS)), data=st.data())
def test_damaged_text_ends_and_cuts_do_not_matter(family: str, data: st.DataObject) -> None:
    text, _, _ = FORMATS[family]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    text = text[:start] + "".join(data.draw(st.lists(st.sampled_from(ALPHABET), max_size=6))) + text[end:]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    pieces = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert parse(family, pieces) == parse(family, [text])


def test_arguments_come_while_they_are_made() -> None:
    parser = open_parser("hermes", "", "", TOOLS)
    begun = parser.push('<tool_call>{"name": "get_weather", "arguments": {"city": ')
    assert begun[1:] == [CallArguments(0, '{"city": ')]
    assert parser.push('"Par') == [CallArguments(0, '"Par')]
    assert parser.push("is, and more") == [CallArguments(0, "is, and more")]


def test_thinking_is_split_off_whether_or_not_the_template_opened_it() -> None:
    for prompt, text in (("", "<think>\nhm, so\n</think>\n\nYes"), ("...<think>\n", "hm, so\n</think>\n\nYes")):
        parser = open_parser(None, "{{ '<think>' }}", prompt)
        events = joined([event for character in text for event in parser.push(character)] + parser.finish())
        assert events == [Reasoning("hm, so"), Text("Yes")]


def test_calls_behind_a_thought() -> None:
    events = parse("hermes", ["<think>a</think>\n" + FORMATS["hermes"][0]], "<think>")
    assert events[0] == Reasoning("a")
    assert calls_of(events) == TWO


def test_values_without_a_type_are_json_where_they_can_be() -> None:
    values = {"a": "True", "b": "1.5", "c": "x y", "d": "[1]"}
    text = "<function=f>" + "".join(f"<parameter={key}>{value}</parameter>" for key, value in values.items()) + "</function>"
    assert calls_of(parse("qwen3_coder", [text])) == [("f", {"a": True, "b": 1.5, "c": "x y", "d": [1]})]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("... <tool_call>{{ x }}</tool_call>", "hermes"),
        ("<tool_call>\n<function=f><parameter=p>", "qwen3_coder"),
        ("[TOOL_CALLS]", "mistral"),
        ("<｜tool▁calls▁begin｜>", "deepseek"),
        ("<tool_call>name<arg_key>", "glm4_moe"),
        ("no tools here", None),
    ],
)
def test_the_template_tells_the_family(template: str, name: str | None) -> None:
    assert parser_name(template) == name


def test_an_unknown_family_is_refused_by_name() -> None:
    for name in ("hermess", "events"):
        with pytest.raises(InvalidRequestError, match="hermes"):
            open_parser(name, "", "")

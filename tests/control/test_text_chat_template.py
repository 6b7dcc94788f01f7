"""Chat templates must render as the transformers library renders them, and refuse clearly what cannot be rendered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from octavo.errors import CheckpointError, InvalidRequestError
from octavo.text.chat_template import ChatTemplate
from octavo.text.tokenizer_settings import folder_settings, gguf_settings

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BLOCKS = """{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == 'skip' %}{% continue %}{% endif %}
    {% if message.role == "assistant" %}
[A] {% generation %}{{ message.content | trim }}{% endgeneration %}{{ eos_token }}
    {% else %}
[U] {{ message.content }}
    {% endif %}
{%- endfor %}
{%- if tools %}
{{ tools | tojson }} {{ tools | tojson(indent=2) }}
{%- endif %}
{{ '[A]' if add_generation_prompt }}"""
TOOLS = [{"type": "function", "function": {"name": "f", "description": "<é & 'x'>", "parameters": {"type": "object", "properties": {}}}}]
TALK = [
    {"role": "system", "content": "Be brief.  "},
    {"role": "skip", "content": "x"},
    {"role": "user", "content": "héllo <b> 😀"},
    {"role": "assistant", "content": "  hi  "},
    {"role": "user", "content": ""},
]


@pytest.mark.parametrize("source", [CHATML, BLOCKS])
@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("add_generation_prompt", [True, False])
def test_renders_as_transformers(source: str, tools: list | None, add_generation_prompt: bool) -> None:
    oracle = pytest.importorskip("transformers.utils.chat_template_utils")
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    rendered, _ = oracle.render_jinja_template(
        [TALK], tools=tools, chat_template=source, add_generation_prompt=add_generation_prompt, **special
    )
    assert ChatTemplate({"default": source}, special).render(TALK, tools=tools, add_generation_prompt=add_generation_prompt) == rendered[0]


def test_further_variables_reach_the_template() -> None:
    template = ChatTemplate({"default": "{{ enable_thinking }}{{ strftime_now('%Y') | length }}{{ documents is none }}"}, {})
    assert template.render([], enable_thinking=False) == "False4True"


def test_text_parts_become_one_string_and_none_an_empty_one() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    template = ChatTemplate({"default": "{% for m in messages %}[{{ m.content }}]{% endfor %}"}, {})
    assert template.render([{"role": "user", "content": parts}, {"role": "assistant", "content": None}]) == "[a\nb][]"


def test_arguments_of_tool_calls_become_objects_and_the_request_stays_as_it_is() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": [1]}'}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    template = ChatTemplate({"default": "{{ messages[0].tool_calls[0].function.arguments.x[0] + 1 }}"}, {})
    assert template.render(messages) == "2"
    assert call["function"]["arguments"] == '{"x": [1]}'
    assert messages[0]["content"] is None


@pytest.mark.parametrize(
    ("source", "message", "expected"),
    [
        ("{{ raise_exception('roles must alternate') }}", {"role": "user", "content": "x"}, "roles must alternate"),
        ("{{ 1 + messages[0].content }}", {"role": "user", "content": "x"}, "cannot render these messages"),
        ("{{ messages.append(1) }}", {"role": "user", "content": "x"}, "cannot render"),
        ("{{ ''.__class__.__mro__ }}", {"role": "user", "content": "x"}, "cannot render"),
        ("x", {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}, "'image_url' cannot be read"),
        ("x", {"role": "user", "content": ["x"]}, "type 'str'"),
        ("x", {"role": "user", "content": [{"type": "text"}]}, "'text' cannot be read"),
        ("x", {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}, "tool call 'f' are not valid JSON"),
    ],
)
def test_what_cannot_be_rendered_is_the_request_s_fault(source: str, message: dict, expected: str) -> None:
    with pytest.raises(InvalidRequestError, match=expected) as caught:
        ChatTemplate({"default": source}, {}).render([message])
    assert caught.value.param == "messages"


def test_invalid_jinja_is_the_model_s_fault() -> None:
    with pytest.raises(CheckpointError, match=r"not valid Jinja: line 2"):
        ChatTemplate({"default": "\n{% for %}"}, {}).render([])


def test_requests_with_tools_take_the_tool_template() -> None:
    template = ChatTemplate({"tool_use": "T", "default": "D"}, {})
    assert (template.render([]), template.render([], tools=TOOLS), template.source) == ("D", "T", "D")


def test_folder_sources_and_their_order(tmp_path: Path) -> None:
    def templates() -> dict[str, str]:
        return folder_settings(tmp_path).chat_templates

    assert folder_settings(tmp_path).chat_template() is None
    (tmp_path / "chat_template.json").write_text('{"chat_template": "json"}')
    assert templates() == {"default": "json"}
    named = [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"chat_template": named, "bos_token": {"content": "<s>"}, "eos_token": "</s>"})
    )
    assert templates() == {"default": "d", "tool_use": "t"}
    assert folder_settings(tmp_path).special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    (tmp_path / "chat_template.jinja").write_text("é", encoding="utf-8")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("T")
    assert templates() == {"default": "é", "tool_use": "T"}


def test_gguf_source() -> None:
    metadata = {
        "tokenizer.ggml.tokens": ["<s>", "</s>"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 9,
        "tokenizer.chat_template": "D",
        "tokenizer.chat_template.tool_use": "T",
        "tokenizer.chat_templates": ["tool_use"],
    }
    settings = gguf_settings(Path("m.gguf"), metadata)
    assert settings.special_tokens == {"bos_token": "<s>", "eos_token": "</s>"}
    assert settings.chat_templates == {"default": "D", "tool_use": "T"}

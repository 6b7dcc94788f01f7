"""What `octavo chat` does with the lines that are typed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from octavo.cli.chat import Conversation
from octavo.cli.source import Piece
from octavo.errors import InvalidRequestError
from octavo.types import SamplingParams


class EchoSource:
    """Answers with the last message, a character at a time; fails or is interrupted where a test says so."""

    model_name = "echo"

    def __init__(self) -> None:
        self.seen: list[list[dict[str, Any]]] = []
        self.closed = 0

    def chat(self, messages: Sequence[dict[str, Any]], params: SamplingParams) -> Generator[Piece, None, None]:
        self.seen.append(list(messages))
        text = messages[-1]["content"]
        try:
            if text == "too long":
                raise InvalidRequestError("the prompt is too long", "prompt")
            for character in text:
                if character == "!":
                    raise KeyboardInterrupt
                yield Piece(character, 1)
        finally:
            self.closed += 1

    def complete(self, prompt: str, params: SamplingParams) -> Generator[Piece, None, None]:
        raise AssertionError("a chat completes no prompt")

    def close(self) -> None:
        """Holds nothing."""


@pytest.fixture
def source() -> EchoSource:
    return EchoSource()


@pytest.fixture
def written() -> list[str]:
    return []


@pytest.fixture
def conversation(source: EchoSource, written: list[str]) -> Conversation:
    return Conversation(source, SamplingParams(), "be kind", written.append)


def roles(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in conversation.messages]


def test_the_model_sees_the_system_message_and_all_turns(conversation: Conversation, source: EchoSource, written: list[str]):
    assert conversation.take("hello")
    assert conversation.take("more")
    assert [message["content"] for message in source.seen[1]] == ["be kind", "hello", "hello", "more"]
    assert "".join(written).startswith("hello\n[5 tokens")
    assert "tokens/s" in "".join(written)


def test_commands(conversation: Conversation, source: EchoSource, written: list[str]):
    conversation.take("hello")
    assert conversation.take("/reset")
    assert roles(conversation) == [("system", "be kind")]
    assert conversation.take("/system be brief")
    assert roles(conversation) == [("system", "be brief")]
    assert conversation.take("/system")
    assert roles(conversation) == []
    assert conversation.take("/unknown")
    assert "/exit" in written[-1]
    assert conversation.take("   ")
    assert len(source.seen) == 1
    assert not conversation.take("/exit")


def test_an_interrupt_ends_the_answer_and_keeps_what_was_said(conversation: Conversation, source: EchoSource, written: list[str]):
    assert conversation.take("ab!cd")
    assert roles(conversation)[-1] == ("assistant", "ab")
    assert "stopped" in written[-1]
    assert source.closed == 1


def test_a_refused_turn_is_taken_back(conversation: Conversation, written: list[str]):
    conversation.take("hello")
    assert conversation.take("too long")
    assert [role for role, _ in roles(conversation)] == ["system", "user", "assistant"]
    assert "the prompt is too long" in written[-1]

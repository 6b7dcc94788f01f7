"""`octavo chat`: a conversation in the terminal. Ctrl-C stops an answer; at the prompt, Ctrl-D or /exit leaves."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import closing

from octavo.cli.source import Source, add_source_options, open_source, sampling_params
from octavo.errors import InvalidRequestError
from octavo.types import SamplingParams

__all__ = ["Conversation", "add_arguments", "run"]

HELP = """\
/system TEXT   set the system message (alone: remove it)
/reset         forget the conversation
/help          this list
/exit          leave"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--system", default="", metavar="TEXT", help="system message")
    add_source_options(parser, max_tokens=None, temperature=0.7)


def run(args: argparse.Namespace) -> int:
    params = sampling_params(args)
    _enable_line_editing()
    with closing(open_source(args)) as source:
        print(f"{source.model_name} · /help lists the commands, Ctrl-C stops an answer", file=sys.stderr)
        conversation = Conversation(source, params, args.system, _write)
        while _take_turn(conversation):
            pass
    return 0


def _take_turn(conversation: Conversation) -> bool:
    """Read a line and act on it; False at the end of input or when the user wants to leave. Ctrl-C only ends what is going on."""
    try:
        return conversation.take(input("> " if sys.stdin.isatty() else ""))
    except EOFError:
        return False
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return True


class Conversation:
    """The messages so far, and what a typed line does to them."""

    def __init__(self, source: Source, params: SamplingParams, system: str, write: Callable[[str], object]) -> None:
        self._source = source
        self._params = params
        self._system = system
        self._turns: list[dict[str, str]] = []
        self._write = write

    @property
    def messages(self) -> list[dict[str, str]]:
        """What the model is shown: the system message, if any, and all turns."""
        return [*([{"role": "system", "content": self._system}] if self._system else []), *self._turns]

    def take(self, line: str) -> bool:
        """Run a command or answer a message; False when the user wants to leave."""
        command, _, rest = line.strip().partition(" ")
        if command in ("/exit", "/quit"):
            return False
        if command == "/reset":
            self._turns.clear()
        elif command == "/system":
            self._system = rest.strip()
        elif command.startswith("/"):
            self._write(HELP + "\n")
        elif command:
            self._answer(line.strip())
        return True

    def _answer(self, text: str) -> None:
        self._turns.append({"role": "user", "content": text})
        answer: list[str] = []
        try:
            rate = self._stream_answer(answer)
        except KeyboardInterrupt:
            rate = "stopped"
        except InvalidRequestError as error:  # the conversation outgrew the context: the turn is taken back
            self._turns.pop()
            self._write(f"{error}\n/reset starts anew\n")
            return
        self._turns.append({"role": "assistant", "content": "".join(answer)})
        self._write(f"\n[{rate}]\n")

    def _stream_answer(self, answer: list[str]) -> str:
        num_tokens = 0
        started = first = time.perf_counter()
        with closing(self._source.chat(self.messages, self._params)) as pieces:
            for piece in pieces:
                first = first if num_tokens else time.perf_counter()
                num_tokens += piece.num_tokens
                answer.append(piece.text)
                self._write(piece.text)
        return f"{num_tokens} tokens · first after {first - started:.2f} s · {_rate(num_tokens - 1, time.perf_counter() - first)}"


def _rate(num_tokens: int, seconds: float) -> str:
    return f"{num_tokens / seconds:.1f} tokens/s" if num_tokens > 0 and seconds > 0 else "one step"


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _enable_line_editing() -> None:
    if sys.stdin.isatty():
        import readline  # noqa: F401  (importing it is what gives input() editing and history)

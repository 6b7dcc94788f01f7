"""Where `octavo chat` and `octavo complete` get their text from: a model loaded here, or a server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from octavo.cli.options import add_options, from_options
from octavo.config import EngineConfig
from octavo.errors import InvalidRequestError, OctavoError
from octavo.types import Delta, SamplingParams

if TYPE_CHECKING:
    from octavo.llm import LLM

__all__ = ["EngineSource", "Piece", "ServerSource", "Source", "add_source_options", "open_source", "sampling_params"]


@dataclass(frozen=True, slots=True)
class Piece:
    """New text and the number of tokens it took, also tokens whose text is still held back."""

    text: str
    num_tokens: int


class Source(Protocol):
    """Streams text. Closing an iterator early ends the request behind it."""

    model_name: str

    def chat(self, messages: Sequence[dict[str, Any]], params: SamplingParams) -> Generator[Piece, None, None]: ...
    def complete(self, prompt: str, params: SamplingParams) -> Generator[Piece, None, None]: ...
    def close(self) -> None: ...


class EngineSource:
    """A model in this process."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.model_name = llm.engine.info.name

    def chat(self, messages: Sequence[dict[str, Any]], params: SamplingParams) -> Generator[Piece, None, None]:
        return _pieces(self._llm.stream_chat(messages, params))

    def complete(self, prompt: str, params: SamplingParams) -> Generator[Piece, None, None]:
        return _pieces(self._llm.stream(prompt, params))

    def close(self) -> None:
        self._llm.close()


def _pieces(deltas: Generator[Delta, None, None]) -> Generator[Piece, None, None]:
    with closing(deltas):
        for delta in deltas:
            if delta.error:
                raise OctavoError(delta.error)
            yield Piece(delta.text, len(delta.token_ids))


class ServerSource:
    """A server with OpenAI's API. One connection per answer: closing it is how an answer is stopped.

    Raises:
        OctavoError: the server cannot be reached, or refuses; with its own words.
    """

    def __init__(self, url: str, api_key: str | None = None, model: str | None = None) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise OctavoError(f"--url {url!r} is not the address of a server; write one such as http://127.0.0.1:8000")
        self._connection_class = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._address = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._url = url
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {api_key}"} if api_key else {})}
        self.model_name = model or self._first_model()

    def chat(self, messages: Sequence[dict[str, Any]], params: SamplingParams) -> Generator[Piece, None, None]:
        return self._stream("/v1/chat/completions", {"messages": list(messages)}, params)

    def complete(self, prompt: str, params: SamplingParams) -> Generator[Piece, None, None]:
        return self._stream("/v1/completions", {"prompt": prompt}, params)

    def close(self) -> None:
        """Nothing stays open between answers."""

    def _first_model(self) -> str:
        with closing(self._connect()) as connection:
            models = json.loads(self._send(connection, "GET", "/v1/models", None).read())
        return models["data"][0]["id"]

    def _stream(self, path: str, prompt: dict[str, Any], params: SamplingParams) -> Generator[Piece, None, None]:
        body = {"model": self.model_name, **prompt, **_body(params), "stream": True, "return_token_ids": True}
        with closing(self._connect()) as connection:
            for line in self._send(connection, "POST", path, json.dumps(body)):
                if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                    yield from _event_pieces(json.loads(line[6:]))

    def _connect(self) -> HTTPConnection:
        return self._connection_class(*self._address)

    def _send(self, connection: HTTPConnection, method: str, path: str, body: str | None) -> Any:
        try:
            connection.request(method, self._path + path, body, self._headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise OctavoError(f"no answer from {self._url} ({error}); is a server running there?") from error
        if response.status != 200:
            text = f"{self._url} answered {response.status}: {_error_text(response.read())}"
            raise InvalidRequestError(text) if response.status == 400 else OctavoError(text)
        return response


def _event_pieces(event: dict[str, Any]) -> Generator[Piece, None, None]:
    if "error" in event:
        raise OctavoError(event["error"].get("message", "the server reported an error"))
    for choice in event.get("choices", ()):
        text = choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        token_ids = choice.get("token_ids")
        yield Piece(text, bool(text) if token_ids is None else len(token_ids))


def _error_text(body: bytes) -> str:
    try:
        return json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")


def _body(params: SamplingParams) -> dict[str, Any]:
    settings = {"temperature": params.temperature, "top_p": params.top_p, "seed": params.seed, "max_tokens": params.max_tokens}
    return {name: value for name, value in settings.items() if value is not None}


def add_source_options(parser: argparse.ArgumentParser, *, max_tokens: int | None, temperature: float) -> None:
    """Add the flags of the sampling, of a server to ask, and of an engine in this process."""
    sampling = parser.add_argument_group("sampling")
    limit = "what the context still holds" if max_tokens is None else str(max_tokens)
    sampling.add_argument("--max-tokens", type=int, default=max_tokens, metavar="N", help=f"most tokens to generate (default: {limit})")
    sampling.add_argument("--temperature", type=float, default=temperature, metavar="X", help=f"0 is greedy (default: {temperature})")
    sampling.add_argument("--top-p", type=float, default=1.0, metavar="X", help="keep the most probable tokens that reach this probability")
    sampling.add_argument("--sampling-seed", type=int, metavar="N", help="makes the answer repeatable")
    server = parser.add_argument_group("server", "ask a running server instead of loading a model here")
    server.add_argument("--url", help="address of the server, such as http://127.0.0.1:8000; the engine flags have no effect then")
    server.add_argument("--api-key", help="bearer token of the server")
    add_options(parser, EngineConfig, "engine", positional=parser.prog.endswith("chat"))


def sampling_params(args: argparse.Namespace) -> SamplingParams:
    """Return the sampling parameters of the flags."""
    return SamplingParams(max_tokens=args.max_tokens, temperature=args.temperature, top_p=args.top_p, seed=args.sampling_seed)


def open_source(args: argparse.Namespace) -> Source:
    """Connect to the server, or load the model here."""
    if args.url:
        return ServerSource(args.url, args.api_key, args.model or None)
    from octavo.assemble import build_engine
    from octavo.llm import LLM

    return EngineSource(LLM.from_engine(build_engine(from_options(EngineConfig, args))))

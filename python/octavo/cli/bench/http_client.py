"""Sends benchmark requests to a server with OpenAI's API and reads the streams."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import orjson

from octavo.cli.bench.timeline import Timeline
from octavo.cli.bench.workload import BenchRequest
from octavo.errors import OctavoError

__all__ = ["http_sender", "open_session", "served_model"]


def open_session(base_url: str, api_key: str | None) -> aiohttp.ClientSession:
    """Return a session without limits on connections or time: the load alone decides."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(base_url, headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(total=None))


async def served_model(session: aiohttp.ClientSession) -> str:
    """Return the name of the first model that the server has. Raises `OctavoError` when it does not answer."""
    try:
        async with session.get("/v1/models") as response:
            response.raise_for_status()
            return (await response.json())["data"][0]["id"]
    except (aiohttp.ClientError, LookupError) as error:
        raise OctavoError(f"the server does not list its models ({error}); is a server running there?") from error


def http_sender(session: aiohttp.ClientSession, model: str) -> Callable[[BenchRequest], Awaitable[Timeline]]:
    """Return the function that sends one completion request and writes down when its tokens come."""

    async def send(request: BenchRequest) -> Timeline:
        timeline = Timeline(time.perf_counter(), len(request.prompt_token_ids))
        try:
            async with session.post(
                "/v1/completions", data=_body(model, request), headers={"Content-Type": "application/json"}
            ) as response:
                if response.status == 200:
                    await _read(response, timeline)
                else:
                    timeline.error = f"HTTP {response.status}: {(await response.text())[:200]}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            timeline.error = f"{type(error).__name__}: {error}"
        timeline.ended = time.perf_counter()
        return timeline

    return send


def _body(model: str, request: BenchRequest) -> bytes:
    body = {
        "model": model,
        "prompt": request.prompt_token_ids,
        "max_tokens": request.output_len,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_token_ids": True,
    }
    return orjson.dumps(body)


async def _read(response: aiohttp.ClientResponse, timeline: Timeline) -> None:
    """Note when bytes come and read them when all are there: meanwhile the server, which may share the processor, is left alone."""
    reads: list[tuple[float, bytes]] = []
    try:
        while data := await response.content.readany():
            reads.append((time.perf_counter(), data))
    finally:
        _count(reads, timeline)


def _count(reads: list[tuple[float, bytes]], timeline: Timeline) -> None:
    """Count tokens by their ids where the server sends them, else an event with text as a token, put right by the usage at the end."""
    counted_by_ids = False
    usage: dict[str, Any] | None = None
    for now, event in _events(reads):
        if "error" in event:
            timeline.error = str(event["error"].get("message", event["error"]))
        for choice in event.get("choices", ()):
            token_ids = choice.get("token_ids")
            counted_by_ids = counted_by_ids or token_ids is not None
            count = len(token_ids) if token_ids is not None else int(bool(choice.get("text")))
            if count:
                timeline.arrivals.append((now, count))
        usage = event.get("usage") or usage
    if usage:
        timeline.num_cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if not counted_by_ids and timeline.arrivals:
            last, count = timeline.arrivals[-1]
            timeline.arrivals[-1] = (last, count + usage["completion_tokens"] - timeline.num_output_tokens)


def _events(reads: list[tuple[float, bytes]]) -> Iterator[tuple[float, dict[str, Any]]]:
    """The events, each with the time of the read that completed it."""
    rest = b""
    for now, data in reads:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data: ") and not line.startswith(b"data: [DONE]"):
                yield now, orjson.loads(line[6:])

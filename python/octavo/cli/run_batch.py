"""`octavo run-batch FILE.jsonl`: answers a file of requests in OpenAI's batch format, and goes on where it stopped.

Each line is `{"custom_id", "method": "POST", "url": "/v1/...", "body"}`; each line of the output is OpenAI's
`{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`, in the order in which answers end. The requests go
through the server's own application, on a socket that nobody else can reach, so whatever the server serves a batch may ask for.
Format: https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from uuid import uuid4

from octavo.cli.options import add_options, from_options
from octavo.config import EngineConfig, ServerConfig
from octavo.errors import ConfigError, InvalidRequestError

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from tqdm import tqdm

    from octavo.engine.port import Engine

__all__ = ["BatchRequest", "add_arguments", "read_batch", "run", "run_batch"]

_HOST = "localhost"  # of the addresses; the socket is a file


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One line of the input."""

    custom_id: str
    url: str
    body: dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="requests, one JSON object a line; - reads standard input")
    parser.add_argument("--output", "-o", metavar="FILE", help="where answers go; default: FILE with .out.jsonl; - for standard output")
    parser.add_argument("--concurrency", type=int, default=256, help="most requests under way at once (default: 256)")
    add_options(parser, EngineConfig, "engine", positional=False)


def run(args: argparse.Namespace) -> int:
    if args.concurrency < 1:
        raise ConfigError(f"--concurrency is {args.concurrency}; it must be at least 1")
    output = args.output or ("-" if args.file == "-" else str(Path(args.file).with_suffix("")) + ".out.jsonl")
    requests = _remaining(_read(args.file), output)
    if not requests:
        print(f"nothing to do: every request of {args.file} has its answer in {output}", file=sys.stderr)
        return 0
    from octavo.assemble import build_engine

    engine = build_engine(from_options(EngineConfig, args))
    if output == "-":
        num_failed = asyncio.run(run_batch(engine, requests, sys.stdout, args.concurrency))
    else:
        with Path(output).open("a") as file:
            num_failed = asyncio.run(run_batch(engine, requests, file, args.concurrency))
    print(f"{len(requests) - num_failed} answered, {num_failed} refused or failed; see {output}", file=sys.stderr)
    return 1 if num_failed else 0


def read_batch(lines: Iterator[str] | TextIO) -> list[BatchRequest]:
    """Read the requests of a file. Raises `InvalidRequestError` naming the first line that is none."""
    requests: dict[str, BatchRequest] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        request = _request(number, line)
        if request.custom_id in requests:
            raise InvalidRequestError(f"line {number}: the custom_id {request.custom_id!r} stands in an earlier line too", "custom_id")
        requests[request.custom_id] = request
    return list(requests.values())


def _request(number: int, line: str) -> BatchRequest:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise InvalidRequestError(f"line {number} is not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise InvalidRequestError(f"line {number} is not a JSON object")
    for name, kind in (("custom_id", str), ("url", str), ("body", dict)):
        if not isinstance(entry.get(name), kind):
            raise InvalidRequestError(f"line {number}: {name} must be a {'string' if kind is str else 'JSON object'}", name)
    if entry.get("method", "POST") != "POST" or not entry["url"].startswith("/"):
        raise InvalidRequestError(f"line {number}: method must be POST, and url a path such as /v1/chat/completions", "url")
    if entry["body"].get("stream"):
        raise InvalidRequestError(f"line {number}: a batch has no streams; leave body.stream out", "stream")
    return BatchRequest(entry["custom_id"], entry["url"], entry["body"])


def _read(name: str) -> list[BatchRequest]:
    if name == "-":
        return read_batch(sys.stdin)
    try:
        with Path(name).open(encoding="utf-8") as file:
            return read_batch(file)
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror}") from None


def _remaining(requests: list[BatchRequest], output: str) -> list[BatchRequest]:
    """The requests that the output does not answer yet. A last line that was cut off counts as missing and is taken away."""
    path = Path(output)
    if output == "-" or not path.exists():
        return requests
    whole, done = 0, set()
    with path.open("rb") as file:
        for line in file:
            try:
                done.add(json.loads(line)["custom_id"])
            except (ValueError, KeyError, TypeError):
                break
            whole += len(line)
    if whole != path.stat().st_size:
        os.truncate(path, whole)
    return [request for request in requests if request.custom_id not in done]


async def run_batch(engine: Engine, requests: list[BatchRequest], output: TextIO, concurrency: int) -> int:
    """Answer `requests` and write a line to `output` as each ends; returns how many failed. Closes the engine."""
    from aiohttp import ClientSession, ClientTimeout, UnixConnector, web
    from tqdm import tqdm

    from octavo.server.app import build_app
    from octavo.server.serve import make_runner

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "batch.sock")
        runner = make_runner(build_app(engine, replace(ServerConfig(), idle_timeout_s=3600.0)))
        await engine.start()
        await runner.setup()
        await web.UnixSite(runner, path).start()
        try:
            connector = UnixConnector(path, limit=concurrency)
            async with ClientSession(f"http://{_HOST}", connector=connector, timeout=ClientTimeout()) as session:
                with tqdm(total=len(requests), unit="request", disable=None) as progress:
                    return await _answer_all(session, requests, output, concurrency, progress)
        finally:
            await runner.cleanup()
            await engine.close()


async def _answer_all(session: ClientSession, requests: list[BatchRequest], output: TextIO, concurrency: int, progress: tqdm) -> int:
    waiting, num_failed = iter(requests), 0

    async def work() -> None:
        nonlocal num_failed
        for request in waiting:  # shared by the workers: each takes the next
            line = await _answer(session, request)
            num_failed += line["response"]["status_code"] != 200
            output.write(json.dumps(line, ensure_ascii=False) + "\n")
            output.flush()
            progress.update()

    await asyncio.gather(*(work() for _ in range(min(concurrency, len(requests)))))
    return num_failed


async def _answer(session: ClientSession, request: BatchRequest) -> dict[str, Any]:
    async with session.post(request.url, json=request.body) as response:
        text = await response.text()
        request_id = response.headers.get("X-Request-Id", "")
        status = response.status
    try:
        body = json.loads(text)
    except ValueError:
        body = {"error": {"message": text}}
    answer = {"status_code": status, "request_id": request_id, "body": body}
    return {"id": f"batch_req_{uuid4().hex}", "custom_id": request.custom_id, "response": answer, "error": None}

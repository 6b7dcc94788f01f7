#!/usr/bin/env python3
"""The 20th turn of a long conversation over the Responses WebSocket: time to its first token, beside a plain prompt of the same tokens.

python tools/bench/conversation.py [--history 16000] [--rounds 5]

A random model of the default model's vocabulary and a window of 32k tokens; server and client in one process, all sides in each round:
`socket`, the turn with only the new input; `cached`, a completion of as many new tokens behind the same cached ones; `uncached`, the same
without the cache. Prints medians and how many tokens of the history were computed again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from random_gguf import write_model

from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.fetch.default_model import default_model_path
from octavo.server.app import build_app

NUM_TURNS = 20
WORDS = ("the", "sea", "is", "calm", "and", "a", "small", "boat", "drifts", "along", "its", "shore", "while", "gulls", "cry")
Turn = tuple[float, dict[str, Any]]


def words(chance: random.Random, count: int) -> str:
    """A question of about so many tokens."""
    return " ".join(chance.choice(WORDS) for _ in range(count))


async def socket_turn(socket: Any, text: str, previous: str | None) -> Turn:
    """Milliseconds to the first token of an answer, and the response."""
    started, first_ms = time.perf_counter(), 0.0
    body = {"type": "response.create", "input": text, "previous_response_id": previous, "store": False, "max_output_tokens": 8}
    await socket.send_json({**body, "ignore_eos": True, "temperature": 0})
    while True:
        event = await socket.receive_json(timeout=120)
        if event["type"] == "response.output_text.delta" and not first_ms:
            first_ms = (time.perf_counter() - started) * 1e3
        if event["type"] in ("response.completed", "response.incomplete"):
            return first_ms, event["response"]
        assert event["type"] != "error", event


async def plain_turn(client: TestClient, token_ids: list[int], salt: str) -> float:
    """Milliseconds to the first token of a completion."""
    started = time.perf_counter()
    body = {"prompt": token_ids, "max_tokens": 8, "stream": True, "cache_salt": salt, "temperature": 0, "ignore_eos": True}
    async with client.post("/v1/completions", json=body) as response:
        first_ms = 0.0
        async for line in response.content:
            if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["text"] and not first_ms:
                first_ms = (time.perf_counter() - started) * 1e3
    return first_ms


async def measure(model: Path, history: int, rounds: int) -> None:
    """Make the conversation, then its last turn again and again, each time with another question."""
    chance = random.Random(1)
    engine = build_engine(EngineConfig.of(model=str(model), max_num_seqs=4, max_model_len=32768, kv_cache_bytes=256 << 20, log_stats_s=0))
    prompts: list[list[int]] = []
    submit = engine.submit

    async def noting(request: Any, *more: Any) -> Any:
        prompts.append(request.prompt_token_ids)
        return await submit(request, *more)

    engine.submit = noting  # type: ignore[method-assign]
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client, client.ws_connect("/v1/responses") as socket:
        await engine.start()
        previous: dict[str, Any] = {}
        for _ in range(NUM_TURNS - 1):
            _, previous = await socket_turn(socket, words(chance, history // (NUM_TURNS - 1)), previous.get("id"))
        known = previous["usage"]["input_tokens"] + previous["usage"]["output_tokens"]
        times: dict[str, list[float]] = {"socket": [], "cached": [], "uncached": []}
        missed = []
        for index in range(rounds):
            first_ms, response = await socket_turn(socket, words(chance, 60), previous["id"])
            times["socket"].append(first_ms)
            cached = response["usage"]["input_tokens_details"]["cached_tokens"]
            missed.append(known - cached)
            asked = prompts[-1]
            new = [*asked[cached:]]
            chance.shuffle(new)
            times["cached"].append(await plain_turn(client, asked[:cached] + new, ""))
            times["uncached"].append(await plain_turn(client, asked[:cached] + new, f"other-{index}"))
        await engine.close()
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"history {known} tokens, of which {max(missed)} at most were computed again; {len(new)} tokens computed in a turn")
    print("ms to the first token: " + ", ".join(f"{name} {value:.1f}" for name, value in medians.items()))
    print(f"socket / cached {medians['socket'] / medians['cached']:.2f}, uncached / socket {medians['uncached'] / medians['socket']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--history", type=int, default=16000, help="tokens of the conversation, about")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "random.gguf"
        write_model(model, default_model_path(), hidden=64, ffn=128, layers=2, heads=2, kv_heads=2, context=32768)
        asyncio.run(measure(model, options.history, options.rounds))


if __name__ == "__main__":
    main()

"""A conversation over the Responses WebSocket; each turn sends only what is new: python responses_socket.py [ws://127.0.0.1:8000/v1/responses]"""

from __future__ import annotations

import asyncio
import sys

import aiohttp

TURNS = ("Name a river.", "Which sea does it reach?")


async def main(url: str = "ws://127.0.0.1:8000/v1/responses") -> None:
    previous = None
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        for turn in TURNS:
            await socket.send_json(
                {"type": "response.create", "input": turn, "previous_response_id": previous, "store": False, "max_output_tokens": 48}
            )
            async for message in socket:
                event = message.json()
                if event["type"] == "response.output_text.delta":
                    print(event["delta"], end="", flush=True)
                elif event["type"] in ("response.completed", "response.incomplete"):
                    previous, usage = event["response"]["id"], event["response"]["usage"]
                    cached = usage["input_tokens_details"]["cached_tokens"]
                    print(f"\n[{usage['input_tokens']} tokens of input, {cached} of them cached]")
                    break
                elif event["type"] in ("error", "response.failed"):
                    sys.exit(str(event))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

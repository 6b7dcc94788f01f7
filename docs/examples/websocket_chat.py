"""Two questions at once over one WebSocket: python websocket_chat.py [ws://127.0.0.1:8000/v1/stream]"""

from __future__ import annotations

import asyncio
import sys

import aiohttp

QUESTIONS = {"river": "Name a river.", "mountain": "Name a mountain."}


async def main(url: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        for name, question in QUESTIONS.items():
            await socket.send_json({"id": name, "messages": [{"role": "user", "content": question}], "max_tokens": 24, "temperature": 0})
        answers = dict.fromkeys(QUESTIONS, "")
        open_streams = set(QUESTIONS)
        while open_streams:
            message = await socket.receive_json()
            if message["type"] == "chunk":
                answers[message["id"]] += "".join(choice["delta"].get("content") or "" for choice in message["data"]["choices"])
            elif message["type"] == "error":
                print(message["error"]["message"], file=sys.stderr)
            else:
                open_streams.discard(message["id"])
    for name, answer in answers.items():
        print(f"{name}: {answer}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["ws://127.0.0.1:8000/v1/stream"]))

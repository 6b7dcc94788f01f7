"""A conversation, streamed: python chat.py [http://127.0.0.1:8000/v1]; OPENAI_API_KEY holds the server's key, if it has one."""

from __future__ import annotations

import os
import sys

from openai import OpenAI


def main(base_url: str = "http://127.0.0.1:8000/v1") -> None:
    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    model = client.models.list().data[0].id
    messages: list[dict[str, str]] = []
    for question in sys.stdin:
        messages.append({"role": "user", "content": question.strip()})
        answer = ""
        with client.chat.completions.create(model=model, messages=messages, max_tokens=200, stream=True) as stream:
            for chunk in stream:
                text = chunk.choices[0].delta.content or "" if chunk.choices else ""
                print(text, end="", flush=True)
                answer += text
        print()
        messages.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main(*sys.argv[1:])

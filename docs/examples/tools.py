"""A tool that the model may call, and the answer that its result leads to: python tools.py [http://127.0.0.1:8000/v1]"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from openai import OpenAI

TOOL = {
    "type": "function",
    "function": {
        "name": "temperature",
        "description": "The temperature in a city, in degrees Celsius",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def temperature(city: str) -> str:
    """Stands for a service that knows."""
    return json.dumps({"city": city, "celsius": 4 + len(city)})


def main(base_url: str = "http://127.0.0.1:8000/v1") -> None:
    client = OpenAI(base_url=base_url, api_key=os.environ.get("OPENAI_API_KEY", "none"))
    model = client.models.list().data[0].id
    messages: list[Any] = [{"role": "user", "content": "How warm is it in Oslo?"}]
    for choice in ("required", "none"):  # a grammar holds the model to a call, then it answers
        answer = client.chat.completions.create(model=model, messages=messages, tools=[TOOL], tool_choice=choice, max_tokens=200)
        message = answer.choices[0].message
        messages.append(message)
        for call in message.tool_calls or ():
            result = temperature(**json.loads(call.function.arguments))
            print(f"{call.function.name}({call.function.arguments}) -> {result}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    print(message.content)


if __name__ == "__main__":
    main(*sys.argv[1:])

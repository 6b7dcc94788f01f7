import asyncio
import sys

import openai
from pydantic import BaseModel

ANSWER = "The command printed octavo-42."
SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"], "additionalProperties": False}
TOOL = {"type": "function", "name": "run", "parameters": SCHEMA, "strict": True}
dictated, free = (f"{url}/v1" for url in sys.argv[1:3])


class Person(BaseModel):
    name: str
    age: int


def chat(client: openai.OpenAI) -> None:
    tools = [{"type": "function", "function": {"name": "run", "parameters": SCHEMA}}]
    talk = [{"role": "user", "content": "What does echo print?"}]
    message = client.chat.completions.create(model="tiny", messages=talk, tools=tools).choices[0].message
    talk += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "octavo-42"}]
    with client.chat.completions.stream(model="tiny", messages=talk, tools=tools) as stream:
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def responses(client: openai.OpenAI) -> None:
    first = client.responses.create(model="tiny", input="What does echo print?", tools=[TOOL])
    output = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "octavo-42"}
    with client.responses.stream(model="tiny", input=[output], previous_response_id=first.id, tools=[TOOL]) as stream:
        assert stream.get_final_response().output_text == ANSWER


def parse(client: openai.OpenAI) -> None:
    ask = [{"role": "user", "content": "Ann is 3"}]
    made = client.chat.completions.parse(model="tiny", messages=ask, response_format=Person, max_tokens=800, temperature=0)
    assert isinstance(made.choices[0].message.parsed, Person)
    made = client.responses.parse(model="tiny", input="Ann is 3", text_format=Person, max_output_tokens=800, temperature=0)
    assert isinstance(made.output_parsed, Person)


async def at_once() -> None:
    async with openai.AsyncOpenAI(base_url=dictated, api_key="x") as client:
        ask = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
        answers = await asyncio.gather(*(client.chat.completions.create(**ask) for _ in range(8)))
        assert {answer.choices[0].message.content for answer in answers} == {ANSWER}
        async with client.responses.connect() as socket:
            await socket.response.create(model="tiny", input="hi", store=False)
            async for event in socket:
                if event.type == "response.completed":
                    assert event.response.output[0].content[0].text == ANSWER
                    break


with openai.OpenAI(base_url=dictated, api_key="x") as client:
    chat(client)
    responses(client)
with openai.OpenAI(base_url=free, api_key="x") as client:
    parse(client)
asyncio.run(at_once())

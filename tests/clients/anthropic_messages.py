import sys

import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="x")
TOOLS = [
    {"name": "run", "description": "Run a command.", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
]
ask = {"model": "tiny", "max_tokens": 300, "tools": TOOLS}
talk = [{"role": "user", "content": "What does echo print?"}]
assert client.messages.count_tokens(model="tiny", messages=talk, tools=TOOLS).input_tokens > 10
answer = client.messages.create(messages=talk, **ask)
assert answer.stop_reason == "tool_use", answer
[use] = [block for block in answer.content if block.type == "tool_use"]
assert use.name == "run" and "octavo" in use.input["command"]
talk.append({"role": "assistant", "content": answer.content})
talk.append({"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "octavo-42"}]})
with client.messages.stream(messages=talk, **ask) as stream:
    text = "".join(stream.text_stream)
assert text == "The command printed octavo-42.", text
assert stream.get_final_message().usage.input_tokens > 10

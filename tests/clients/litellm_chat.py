import json
import sys

import litellm

TOOLS = [{"type": "function", "function": {"name": "run", "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}}}]

for provider, base in (("openai", "/v1"), ("hosted_vllm", "/v1"), ("anthropic", ""), ("ollama_chat", "")):
    ask = {"model": f"{provider}/tiny", "api_base": sys.argv[1] + base, "api_key": "x", "tools": TOOLS, "max_tokens": 200}
    talk = [{"role": "user", "content": "What does echo print?"}]
    message = litellm.completion(messages=talk, **ask).choices[0].message
    [call] = message.tool_calls
    assert call.function.name == "run" and "octavo" in json.loads(call.function.arguments)["command"], (provider, message)
    talk += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "octavo-42"}]
    chunks = list(litellm.completion(messages=talk, stream=True, stream_options={"include_usage": True}, **ask))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "The command printed octavo-42.", (provider, text)

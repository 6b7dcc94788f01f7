"""OpenAI's Responses API (https://platform.openai.com/docs/api-reference/responses) over the same engine.

Each response runs in a task of its own and writes its events to a log; streams, resumed streams and sockets only read that log.
"""

"""The HTTP, SSE and WebSocket edge: it knows JSON and OpenAI's shapes, nothing of tensors, blocks or batches.

A request travels: `middleware` (key, drain, errors) -> an endpoint file -> `body` (JSON, validation against `protocol`) -> `prompts`
(token ids) -> `generation` (engine streams, merged) -> `sse`, `websocket` or one JSON document. Every file that has `ROUTES` is an
endpoint family; `app` lists them.
"""

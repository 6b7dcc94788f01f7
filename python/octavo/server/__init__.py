"""The HTTP, SSE and WebSocket edge: it knows JSON and the shapes of APIs, nothing of tensors, blocks or batches.

A request travels: `edge.middleware` (key, drain, errors) -> an endpoint file of `openai` -> `edge.body` (JSON, validation against
`openai.protocol`) -> `openai.prompts` (token ids) -> `edge.generation` (engine streams, merged) -> `edge.sse`, `websocket` or one JSON
document. Every file that has `ROUTES` is an endpoint family; `app` lists them.
"""

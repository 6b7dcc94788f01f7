"""The HTTP, SSE and WebSocket edge: it knows JSON and the shapes of APIs, nothing of tensors, blocks or batches.

A request travels: `edge.middleware` (pages, key, drain, errors) -> an endpoint file of `openai` -> `edge.body` (JSON, validation against
`openai.protocol`) -> `openai.prompts` (token ids) -> `edge.generation` (engine streams, merged) -> `edge.reply` with the shape of its
API -> `edge.sse`, `websocket` or one JSON document. `edge` imports no API. Every file that has `ROUTES` is an endpoint family; `app`
lists them, and imports most of them when a client first asks for one.
"""

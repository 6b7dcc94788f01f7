"""The endpoints, a line each. A test holds the list to the routes of the application."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from octavo.server.anthropic import protocol as anthropic
from octavo.server.edge.body import RequestBody
from octavo.server.ollama import protocol as ollama
from octavo.server.openai import decision_body, protocol, transcription_body
from octavo.server.pooling import protocol as pooling
from octavo.server.responses import protocol as responses

__all__ = ["OPERATIONS", "Operation"]


class Operation(NamedTuple):
    """One endpoint.

    Attributes:
        route: `POST /path`, as the application has it.
        api: whose clients know it.
        summary: what it does, a few words.
        body: of the request; None: it has none.
        streams: the media type of an answer with `stream: true`; None: it never streams.
        answer: the media type of other answers.
        optional: parameters of the query, by name, with their JSON schemas.
    """

    route: str
    api: str
    summary: str
    body: type[RequestBody] | None = None
    streams: str | None = None
    answer: str = "application/json"
    optional: Mapping[str, dict[str, str]] = MappingProxyType({})

    @property
    def method(self) -> str:
        """`post`."""
        return self.route.partition(" ")[0].lower()

    @property
    def path(self) -> str:
        """With its parameters in braces, as OpenAPI has them."""
        return self.route.partition(" ")[2].replace(":.+}", "}")


_EVENTS = "text/event-stream"
_LINES = "application/x-ndjson"
_HTML = "text/html"
_ITEMS = {"limit": {"type": "integer"}, "order": {"type": "string"}, "after": {"type": "string"}}
_RESUME = {"stream": {"type": "string"}, "starting_after": {"type": "integer"}}

OPERATIONS = (
    Operation("POST /v1/chat/completions", "OpenAI", "Answer a conversation", protocol.ChatBody, _EVENTS),
    Operation("POST /v1/completions", "OpenAI", "Continue texts or tokens", protocol.CompletionBody, _EVENTS),
    Operation("POST /v1/responses", "OpenAI", "Answer with items, and keep them", responses.ResponsesBody, _EVENTS),
    Operation("POST /v1/responses/input_tokens", "OpenAI", "Count a response's input", responses.InputTokensBody),
    Operation("GET /v1/responses/{id}", "OpenAI", "A response that was kept, or its stream again", None, _EVENTS, optional=_RESUME),
    Operation("DELETE /v1/responses/{id}", "OpenAI", "Forget a response"),
    Operation("POST /v1/responses/{id}/cancel", "OpenAI", "End a response that runs in the background"),
    Operation("GET /v1/responses/{id}/input_items", "OpenAI", "The input of a response", optional=_ITEMS),
    Operation("GET /v1/responses", "OpenAI", "A WebSocket with lanes of responses"),
    Operation("POST /v1/decisions", "OpenAI", "How likely each of few answers is", decision_body.DecisionsBody),
    Operation("POST /v1/embeddings", "OpenAI", "Vectors of texts", pooling.EmbeddingBody),
    Operation("POST /v1/audio/transcriptions", "OpenAI", "What is said in a sound file", transcription_body.TranscriptionBody, _EVENTS),
    Operation("POST /v1/audio/translations", "OpenAI", "The same in English", transcription_body.TranslationBody),
    Operation("GET /v1/models", "OpenAI", "The models that are served"),
    Operation("GET /v1/models/{id:.+}", "OpenAI", "One of them"),
    Operation("GET /v1/stream", "Octavo", "A WebSocket with many streams of completions and chats"),
    Operation("POST /tokenize", "Octavo", "A text's or a conversation's tokens", protocol.TokenizeBody),
    Operation("POST /detokenize", "Octavo", "The text of tokens", protocol.DetokenizeBody),
    Operation("GET /tokenizer_info", "Octavo", "What the tokenizer is"),
    Operation("POST /pooling", "Octavo", "Vectors of texts or of their tokens", pooling.PoolingBody),
    Operation("POST /classify", "Octavo", "How likely each label of a text is", pooling.ClassifyBody),
    Operation("POST /v1/classify", "Octavo", "The same", pooling.ClassifyBody),
    Operation("POST /score", "Octavo", "How well texts go together", pooling.ScoreBody),
    Operation("POST /v1/score", "Octavo", "The same", pooling.ScoreBody),
    Operation("POST /rerank", "Jina, Cohere", "Documents by how well they answer a query", pooling.RerankBody),
    Operation("POST /v1/rerank", "Jina, Cohere", "The same", pooling.RerankBody),
    Operation("POST /v2/rerank", "Jina, Cohere", "The same", pooling.RerankBody),
    Operation("POST /v1/messages", "Anthropic", "Answer a conversation", anthropic.MessagesBody, _EVENTS),
    Operation("POST /v1/messages/count_tokens", "Anthropic", "Count a conversation's tokens", anthropic.CountTokensBody),
    Operation("POST /api/chat", "Ollama", "Answer a conversation", ollama.ChatBody, _LINES),
    Operation("POST /api/generate", "Ollama", "Answer a prompt", ollama.GenerateBody, _LINES),
    Operation("POST /api/show", "Ollama", "What the model is", ollama.ShowBody),
    Operation("GET /api/tags", "Ollama", "The models that are served"),
    Operation("GET /api/ps", "Ollama", "The models that are loaded"),
    Operation("GET /api/version", "Ollama", "The server's version"),
    Operation("GET /health", "Operation", "200 while new requests are taken, 503 with the reason otherwise"),
    Operation("GET /ping", "Operation", "The same"),
    Operation("GET /version", "Operation", "The server's version"),
    Operation("GET /metrics", "Operation", "Prometheus' text format", answer="text/plain"),
    Operation("GET /dashboard/state", "Operation", "What the dashboard shows"),
    Operation("GET /openapi.json", "Operation", "This description"),
    Operation("GET /", "Pages", "Chat with the model", answer=_HTML),
    Operation("GET /dashboard", "Pages", "Throughput, latencies and the KV cache, live", answer=_HTML),
    Operation("GET /docs", "Pages", "This description for people", answer=_HTML),
)

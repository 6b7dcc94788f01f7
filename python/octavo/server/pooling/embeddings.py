"""POST /v1/embeddings (OpenAI's) and /pooling (vectors of texts or tokens, whatever the model makes)."""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4

import orjson
from aiohttp import web

from octavo.engine.pooling_inputs import pooling_of
from octavo.errors import InvalidRequestError
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.reply import awaiting
from octavo.server.openai.models import check_model
from octavo.server.pooling.protocol import EmbeddingBody, PoolingBody
from octavo.server.pooling.vectors import Vectors, compute, tokenized, usage
from octavo.types import PoolingParams

__all__ = ["ROUTES"]

_FLOAT_BYTES = 4


async def _embeddings(request: web.Request) -> web.Response:
    body = await read_body(request, EmbeddingBody)
    info = request.app[CONTEXT].engine.info
    model = pooling_of(info)
    if model.task != "embed":
        raise InvalidRequestError(f"{info.name} makes no embeddings ({model.task}); use /classify, /score, /rerank or /pooling", "model")
    return await _answer(request, body, PoolingParams(body.dimensions, body.normalize), "embedding", "embedding")


async def _pooling(request: web.Request) -> web.Response:
    body = await read_body(request, PoolingBody)
    info = request.app[CONTEXT].engine.info
    model = pooling_of(info)
    task = body.task or model.task
    allowed = {"embed": ("embed", "token_embed"), "classify": ("classify", "token_embed"), "token_classify": ("token_classify",)}[
        model.task
    ]
    if task not in allowed:
        raise InvalidRequestError(f"task is {task}; {info.name} has {' and '.join(allowed)}", "task")
    return await _answer(request, body, PoolingParams(body.dimensions, body.normalize, task.startswith("token_")), "pooling", "data")


async def _answer(request: web.Request, body: EmbeddingBody, params: PoolingParams, kind: str, key: str) -> web.Response:
    context = request.app[CONTEXT]
    name = check_model(context, body.model)
    with awaiting(request):
        inputs = await tokenized(context, body, [(each, None) for each in body.input], prompt_name=body.prompt_name)
        vectors = await compute(context, body, inputs, params)

        def document() -> bytes:
            data = [
                {"object": kind, "index": index, key: _encoded(row, vectors, params, body.encoding_format)}
                for index, row in enumerate(vectors.rows)
            ]
            whole = {"id": f"embd-{uuid4().hex}", "object": "list", "data": data, "model": name, "usage": usage(vectors)}
            return orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)

        return web.Response(body=await context.workers.run(sum(map(len, vectors.rows)), document), content_type="application/json")


def _encoded(row: bytes, vectors: Vectors, params: PoolingParams, encoding: str) -> Any:
    if encoding == "base64":
        return base64.b64encode(row).decode()
    import numpy as np  # a server that makes text does without

    values = np.frombuffer(row, np.float32)
    return values.reshape(-1, vectors.width) if params.token_wise else values


ROUTES = [web.post("/v1/embeddings", _embeddings), web.post("/pooling", _pooling)]

"""POST /classify: the label that a text most probably has, and the probability of each."""

from __future__ import annotations

import time
from array import array
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
from octavo.server.pooling.protocol import ClassifyBody
from octavo.server.pooling.vectors import compute, tokenized, usage
from octavo.types import PoolingParams

__all__ = ["ROUTES"]


async def _classify(request: web.Request) -> web.Response:
    body = await read_body(request, ClassifyBody)
    context = request.app[CONTEXT]
    name, info = check_model(context, body.model), context.engine.info
    model = pooling_of(info)
    if model.task != "classify":
        raise InvalidRequestError(f"{info.name} classifies no texts ({model.task})", "model")
    with awaiting(request):
        inputs = await tokenized(context, body, [(each, None) for each in body.input])
        vectors = await compute(context, body, inputs, PoolingParams(use_activation=body.use_activation))
    data = [_entry(index, array("f", row).tolist(), model.labels) for index, row in enumerate(vectors.rows)]
    document = {"id": f"classify-{uuid4().hex}", "object": "list", "created": int(time.time()), "model": name, "data": data}
    return web.Response(body=orjson.dumps({**document, "usage": usage(vectors)}), content_type="application/json")


def _entry(index: int, shares: list[float], labels: tuple[str, ...]) -> dict[str, Any]:
    return {"index": index, "label": labels[shares.index(max(shares))], "probs": shares, "num_classes": len(shares)}


ROUTES = [web.post("/classify", _classify), web.post("/v1/classify", _classify)]

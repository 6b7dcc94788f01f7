"""POST /score and /rerank: how well texts go together, by a cross-encoder's one label or by the cosine of embeddings."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson
from aiohttp import web

from octavo.engine.pooling_inputs import pooling_of
from octavo.errors import InvalidRequestError
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.edge.reply import awaiting
from octavo.server.openai.models import check_model
from octavo.server.pooling.protocol import MAX_INPUTS, PoolingRequestBody, RerankBody, ScoreBody
from octavo.server.pooling.vectors import Vectors, compute, cosines, tokenized, usage
from octavo.types import PoolingParams

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext

__all__ = ["ROUTES"]


async def _score(request: web.Request) -> web.Response:
    body = await read_body(request, ScoreBody)
    context = request.app[CONTEXT]
    name = check_model(context, body.model)
    firsts, seconds = body.text_1, body.text_2
    if len(firsts) not in (1, len(seconds)):
        raise InvalidRequestError(f"text_1 has {len(firsts)} texts and text_2 {len(seconds)}; give one, or as many", "text_1")
    with awaiting(request):
        scores, vectors = await _scores(context, body, firsts, seconds, body.use_activation)
    data = [{"index": index, "object": "score", "score": score} for index, score in enumerate(scores)]
    document = {"id": f"score-{uuid4().hex}", "object": "list", "created": int(time.time()), "model": name, "data": data}
    return web.Response(body=orjson.dumps({**document, "usage": usage(vectors)}), content_type="application/json")


async def _rerank(request: web.Request) -> web.Response:
    body = await read_body(request, RerankBody)
    context = request.app[CONTEXT]
    name = check_model(context, body.model)
    if body.rank_fields not in (None, ["text"]):
        raise InvalidRequestError("rank_fields: documents have the field text and no other", "rank_fields")
    if body.max_tokens_per_doc is not None and body.truncate_prompt_tokens is None:
        body.truncate_prompt_tokens = min(body.max_tokens_per_doc, context.engine.info.max_model_len)
    with awaiting(request):
        scores, vectors = await _scores(context, body, [body.query], body.documents, None)
    is_cohere = request.path.startswith("/v2/")
    shows = not is_cohere if body.return_documents is None else body.return_documents
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.top_n]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
    for result in results if shows else ():
        result["document"] = {"text": body.documents[result["index"]]}
    document = {
        "id": f"rerank-{uuid4().hex}",
        "model": name,
        "results": results,
        "usage": usage(vectors),
        "meta": {"api_version": {"version": "2" if is_cohere else "1"}, "billed_units": {"search_units": 1}},
    }
    return web.Response(body=orjson.dumps(document), content_type="application/json")


async def _scores(
    context: ServerContext, body: PoolingRequestBody, firsts: Sequence[str], seconds: Sequence[str], use_activation: bool | None
) -> tuple[list[float], Vectors]:
    """The score of each pair; an only first text goes with all of the second ones."""
    info = context.engine.info
    model = pooling_of(info)
    if model.task == "classify" and model.width == 1:
        pairs = [(firsts[index if len(firsts) > 1 else 0], second) for index, second in enumerate(seconds)]
        vectors = await compute(context, body, await tokenized(context, body, pairs), PoolingParams(use_activation=use_activation))
        return [array("f", row)[0] for row in vectors.rows], vectors
    if model.task != "embed":
        raise InvalidRequestError(f"{info.name} scores no pairs: it is no embedding model and has {model.width} labels, not one", "model")
    if use_activation is not None:
        raise InvalidRequestError("use_activation: the cosine of embeddings goes through no function; leave it out", "use_activation")
    if len(firsts) + len(seconds) > 2 * MAX_INPUTS:
        raise InvalidRequestError(f"more than {2 * MAX_INPUTS} texts; send them in several requests", "text_2")
    inputs = await tokenized(context, body, [(text, None) for text in (*firsts, *seconds)])
    vectors = await compute(context, body, inputs, PoolingParams(use_activation=True))
    first_rows, second_rows = vectors.rows[: len(firsts)], vectors.rows[len(firsts) :]
    scores = await context.workers.run(sum(map(len, vectors.rows)), lambda: cosines(first_rows, second_rows))
    return scores, vectors


ROUTES = [
    *(web.post(path, _score) for path in ("/score", "/v1/score")),
    *(web.post(path, _rerank) for path in ("/rerank", "/v1/rerank", "/v2/rerank")),
]

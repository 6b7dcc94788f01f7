"""GET /api/tags, /api/ps and /api/version, POST /api/show: what an Ollama client asks before it talks."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from aiohttp import web

import octavo
from octavo.server.edge.body import read_body
from octavo.server.edge.context import CONTEXT
from octavo.server.ollama.conversion import model_name
from octavo.server.ollama.protocol import ShowBody
from octavo.server.openai.models import check_model

if TYPE_CHECKING:
    from octavo.server.edge.context import ServerContext

__all__ = ["ROUTES"]


def _details(context: ServerContext) -> dict[str, Any]:
    family = str(context.engine.info.extra.get("model_type", ""))
    return {"parent_model": "", "format": "gguf", "family": family, "families": [family], "parameter_size": "", "quantization_level": ""}


def _entry(context: ServerContext) -> dict[str, Any]:
    info = context.engine.info
    changed = datetime.fromtimestamp(info.created, timezone.utc).isoformat()
    digest = hashlib.sha256(info.path.encode()).hexdigest()
    return {"name": info.name, "model": info.name, "modified_at": changed, "size": 0, "digest": digest, "details": _details(context)}


async def _tags(request: web.Request) -> web.Response:
    return web.json_response({"models": [_entry(request.app[CONTEXT])]})


async def _version(request: web.Request) -> web.Response:
    return web.json_response({"version": octavo.__version__})


async def _show(request: web.Request) -> web.Response:
    body = await read_body(request, ShowBody)
    context = request.app[CONTEXT]
    check_model(context, model_name(body.model or body.name or "") or None)
    template = context.engine.tokenizer.chat_template
    capabilities = ["completion"] if template is None else ["completion", "tools"]
    info = {"general.architecture": _details(context)["family"], "general.context_length": context.engine.info.max_model_len}
    return web.json_response(
        {
            "modelfile": "",
            "parameters": "",
            "template": "" if template is None else template.source,
            "details": _details(context),
            "model_info": info,
            "capabilities": capabilities,
        }
    )


ROUTES = [web.get("/api/tags", _tags), web.get("/api/ps", _tags), web.get("/api/version", _version), web.post("/api/show", _show)]

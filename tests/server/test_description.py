"""/openapi.json describes every route, is valid OpenAPI, and the server keeps to it; the page made from it needs nothing from elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from fakes.running_server import StartServer
from fakes.scripted_engine import ScriptedEngine, words_script
from fakes.served_in_thread import ServedInThread
from octavo.config import ServerConfig
from octavo.server.app import build_app
from octavo.server.description.docs_page import docs_page
from octavo.server.description.document import openapi_document
from octavo.server.description.operations import OPERATIONS, Operation
from octavo.types import Delta, FinishReason, GenerationRequest, TokenLogprobs

EXAMPLES = 200 if os.environ.get("OCTAVO_TEST_ALL") else 4  # of each kind, for each operation
SOCKETS = ("GET /v1/stream", "GET /v1/responses")


def test_every_route_is_described_and_nothing_else():
    app = build_app(ScriptedEngine(), ServerConfig())
    routes = {f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.method != "HEAD"}
    described = {f"{each.method.upper()} {each.path}" for each in OPERATIONS}
    assert routes - {"GET /static/{name}"} == described
    assert len(described) == len(OPERATIONS)


def test_every_reference_of_the_document_leads_somewhere():
    document = openapi_document()
    schemas = document["components"]["schemas"]
    names = re.findall(r"'#/components/schemas/([^']+)'", str(document))
    assert set(names) <= schemas.keys()
    unused = schemas.keys() - set(names)
    assert unused == set()
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(ids) == len(set(ids))


def test_schemas_say_what_a_client_may_send():
    schemas = openapi_document()["components"]["schemas"]
    completion = schemas["OpenAI.CompletionBody"]
    assert completion["anyOf"] == [{"required": ["prompt"]}, {"required": ["prompt_embeds"]}]
    assert completion["additionalProperties"] is False
    assert {"type": "string"} in completion["properties"]["prompt"]["anyOf"]
    assert "additionalProperties" not in schemas["Ollama.ChatBody"] or schemas["Ollama.ChatBody"]["additionalProperties"] is True


async def test_the_document_and_its_page_are_served(start_server: StartServer):
    server = await start_server()
    async with server.http.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert await response.json() == openapi_document()
    async with server.http.get("/docs") as response:
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        text = await response.text()
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "unsafe" not in policy
    assert "<script" not in text
    assert not re.findall(r'(?:href|src)="(?![/#])', text)
    for path in re.findall(r'<link [^>]*href="([^"]+)"', text):
        async with server.http.get(path) as response:
            assert response.status == 200
    anchors, links = set(re.findall(r' id="([^"]+)"', text)), set(re.findall(r'href="#([^"]+)"', text))
    assert links <= anchors


def test_the_page_escapes_what_the_document_says():
    document = openapi_document() | {"info": {"version": "<b>", "description": "a & b"}}
    assert "<h2>Endpoints of version &lt;b&gt;</h2><p>a &amp; b" in docs_page(document)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ServedInThread(ScriptedEngine(script=script, max_model_len=4096)) as served:
        yield served.url


async def script(request: GenerationRequest) -> AsyncIterator[Delta]:
    """The one token that may come, where only one may, as /v1/decisions asks; else words."""
    if request.params.allowed_token_ids is None or len(request.params.allowed_token_ids) != 1:
        async for delta in words_script("a b c")(request):
            yield delta
        return
    [token_id] = request.params.allowed_token_ids
    yield Delta(0, "a", [token_id], [TokenLogprobs(token_id, -0.5, 1, ())], FinishReason.LENGTH)


CALLED = [(each, "POSITIVE") for each in OPERATIONS if each.route not in SOCKETS]
CALLED += [(each, "NEGATIVE") for each, _ in CALLED if each.body is not None or each.optional]


@pytest.mark.parametrize(("operation", "mode"), CALLED, ids=lambda each: each if isinstance(each, str) else each.route)
def test_the_server_keeps_to_its_description(operation: Operation, mode: str, url: str):
    """schemathesis makes requests from the document, good and bad ones; none may be a fault of the server, or answered otherwise."""
    schemathesis = pytest.importorskip("schemathesis")
    checks = schemathesis.checks
    held_to = (
        *(checks.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance),
        *(checks.response_headers_conformance, checks.response_schema_conformance),
    )
    described = schemathesis.openapi.from_dict(openapi_document())[operation.path][operation.method.upper()]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(described.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    def call(case: Any) -> None:
        case.call_and_validate(base_url=url, checks=held_to)

    call()

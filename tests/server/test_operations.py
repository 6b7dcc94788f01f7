"""What operators look at: health, version, models, tokenizer, metrics, the API key, the chat page."""

from __future__ import annotations

import re

import pytest

from fakes.fake_tokenizer import BOS
from fakes.running_server import Server, StartServer


async def get(server: Server, path: str, **headers: str) -> tuple[int, str]:
    async with server.http.get(path, headers=headers) as response:
        return response.status, await response.text()


@pytest.mark.parametrize("path", ["/health", "/ping"])
async def test_health_tells_a_dead_engine_and_a_drain(server: Server, path: str) -> None:
    assert await get(server, path) == (200, '{"status":"ok"}')
    server.engine.dead = "the runner broke: bad_alloc"
    status, text = await get(server, path)
    assert status == 503
    assert "bad_alloc" in text
    server.engine.dead = None
    server.context.draining = True
    status, text = await get(server, path)
    assert (status, "shutting down" in text) == (503, True)


async def test_a_dead_engine_answers_503(server: Server) -> None:
    server.engine.dead = "the runner broke"
    error = await server.error("/v1/completions", {"prompt": "a"}, status=503)
    assert error["code"] == "engine_dead"


async def test_a_draining_server_refuses_new_requests_only(server: Server) -> None:
    server.context.draining = True
    for path in ("/v1/completions", "/v1/chat/completions"):
        assert (await server.error(path, {}, status=503))["code"] == "shutting_down"
    assert (await get(server, "/v1/models"))[0] == 200


async def test_version(server: Server) -> None:
    pytest.importorskip("octavo._runtime", exc_type=ImportError)
    import octavo

    async with server.http.get("/version") as response:
        assert await response.json() == {"version": octavo.__version__}


async def test_models(server: Server) -> None:
    card = {
        "id": "toy",
        "object": "model",
        "created": 1700000000,
        "owned_by": "octavo",
        "max_model_len": 512,
        "input_modalities": ["text"],
        "root": "toy",
        "parent": None,
    }
    async with server.http.get("/v1/models") as response:
        document = await response.json()
        [permission] = document["data"][0].pop("permission")
        assert document == {"object": "list", "data": [card]}
        assert permission["allow_sampling"] is True
    async with server.http.get("/v1/models/toy") as response:
        assert (await response.json()).items() >= card.items()
    status, text = await get(server, "/v1/models/org/other")
    assert status == 404
    assert "model_not_found" in text


async def test_tokenize_and_back(server: Server) -> None:
    _, document = await server.post("/tokenize", {"prompt": "é", "return_token_strs": True})
    assert document == {"count": 3, "max_model_len": 512, "tokens": [BOS, 0xC3, 0xA9], "token_strs": ["<s>", "\ufffd", "\ufffd"]}
    _, document = await server.post("/tokenize", {"prompt": "é", "return_token_strs": "vocabulary"})
    assert document["token_strs"] == [f"<{BOS}>", "<195>", "<169>"]
    _, document = await server.post("/detokenize", {"tokens": [BOS, 0xC3, 0xA9]})
    assert document == {"prompt": "<s>é"}
    _, document = await server.post("/detokenize", {"tokens": [BOS, 97], "skip_special_tokens": True})
    assert document == {"prompt": "a"}


async def test_the_tokenizer_is_described(server: Server) -> None:
    async with server.http.get("/tokenizer_info") as response:
        document = await response.json()
    assert (document["bos_token"], document["eos_token"], document["model_max_length"]) == ("<s>", "</s>", 512)
    assert document["chat_template"] == server.engine.tokenizer.chat_template.source


async def test_tokenize_messages(server: Server) -> None:
    _, document = await server.post("/tokenize", {"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": False})
    assert bytes(document["tokens"]) == b"<user>a\n"
    assert (await server.post("/tokenize", {"prompt": ""}))[1]["tokens"] == [BOS]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/tokenize", {}, "either prompt or messages"),
        ("/tokenize", {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "either prompt or messages"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/detokenize", {}, "tokens is required"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
        ("/detokenize", {"tokens": [1, 258]}, "tokens[1] is 258"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0] is -1"),
    ],
)
async def test_bad_tokenizer_requests(server: Server, path: str, body: dict, text: str) -> None:
    assert text in (await server.error(path, body))["message"]


async def test_metrics_show_the_engine_and_its_latencies(server: Server) -> None:
    await server.post("/v1/completions", {"prompt": "a"})
    async with server.http.get("/metrics") as response:
        assert response.content_type == "text/plain"
        lines = (await response.text()).splitlines()
    expected = {
        "octavo_up 1.0",
        "octavo_num_requests_running 0.0",
        "octavo_kv_cache_usage_ratio 0.25",
        "octavo_prompt_tokens_total 10.0",
        "octavo_prefix_cache_hit_tokens_total 4.0",
        "octavo_generation_tokens_total 20.0",
        "octavo_preemptions_total 1.0",
        'octavo_finished_total{finish_reason="stop"} 3.0',
        "octavo_time_to_first_token_seconds_count 1.0",
        "octavo_inter_token_latency_seconds_count 2.0",
        "octavo_e2e_request_latency_seconds_count 1.0",
    }
    assert expected <= set(lines)
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


async def test_each_application_has_its_own_registry(start_server: StartServer) -> None:
    for _ in range(2):
        assert (await get(await start_server(), "/metrics"))[0] == 200


async def test_the_chat_page_needs_nothing_from_elsewhere(server: Server) -> None:
    async with server.http.get("/") as response:
        assert response.content_type == "text/html"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        page = await response.text()
    paths = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert "/static/chat.js" in paths
    for path in paths:
        async with server.http.get(path) as response:
            assert response.status == 200, path
            assert not re.findall(r"""(?:import|from|fetch\(|url\()\s*["']?https?:""", await response.text())
    assert (await get(server, "/static/../page.py"))[0] == 404
    assert (await get(server, "/static/index.html"))[0] == 404

"""Chats about pictures, through the whole server: the words of transformers, whatever the chunks, the cache and the neighbours are."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from PIL import Image
from test_family_runs import Preempting

from fakes.tiny_vision import TinyVision, make_tiny_vision, noise
from octavo import LLM, SamplingParams, assemble
from octavo.assemble import build_engine
from octavo.config import EngineConfig, PlacementConfig, SchedulingConfig, ServerConfig
from octavo.errors import InvalidRequestError
from octavo.server.app import build_app

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

NUM_TOKENS = 12
BUDGET = 24  # tokens of a step: every picture is cut


@pytest.fixture(scope="module", params=["llava-clip", "idefics3", "pixtral", "qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyVision:
    return make_tiny_vision(request.param, tmp_path_factory.mktemp(request.param))


@asynccontextmanager
async def serving(model: TinyVision) -> AsyncIterator[TestClient]:
    config = EngineConfig(
        str(model.folder),
        scheduling=SchedulingConfig(max_num_batched_tokens=BUDGET, max_num_seqs=8),
        placement=PlacementConfig(device="cpu", arithmetic="exact", threads=2),
    )
    engine = build_engine(config)
    await engine.start()
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        yield client
    await engine.close()


@pytest.fixture
async def client(model: TinyVision) -> AsyncIterator[TestClient]:
    async with serving(model) as client:
        yield client


def shown(pixels: np.ndarray) -> dict[str, Any]:
    """A part of a message."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()}}


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


async def answer(client: TestClient, parts: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": NUM_TOKENS, "temperature": 0, "ignore_eos": True}
    response = await client.post("/v1/chat/completions", json={**body, "return_token_ids": True, **fields})
    document = await response.json()
    assert response.status == 200, document
    return document


def expected(model: TinyVision, prompt_token_ids: list[int], pictures: list[np.ndarray], num_tokens: int = NUM_TOKENS) -> list[int]:
    """Of transformers, for the same prompt."""
    with torch.no_grad():
        ids = torch.tensor([prompt_token_ids])
        settings = {"max_new_tokens": num_tokens, "min_new_tokens": num_tokens, "do_sample": False, "eos_token_id": None}
        inputs = model.inputs(pictures)
        if "image_grid_thw" in inputs:
            inputs["mm_token_type_ids"] = (ids == model.model.config.image_token_id).int()
        return model.model.generate(ids, **inputs, **settings)[0, len(prompt_token_ids) :].tolist()


async def test_every_api_shows_the_same_images(model: TinyVision, client: TestClient) -> None:
    """Anthropic's, Ollama's and the Responses API's ways to write a picture."""
    part = shown(noise(40, 60))
    url = part["image_url"]["url"]
    data = url.partition(",")[2]
    chat = {"model": model.folder.name, "max_tokens": NUM_TOKENS, "temperature": 0}
    wanted = await answer(client, [said("See:"), part])
    source = {"type": "base64", "media_type": "image/png", "data": data}
    blocks = [{"type": "text", "text": "See:"}, {"type": "image", "source": source}]
    items = [{"type": "input_text", "text": "See:"}, {"type": "input_image", "image_url": url}]
    calls = {
        "/v1/messages": {**chat, "messages": [{"role": "user", "content": blocks}]},
        "/v1/responses": {"max_output_tokens": NUM_TOKENS, "temperature": 0, "input": [{"role": "user", "content": items}]},
        "/api/chat": {"model": chat["model"], "stream": False, "messages": [{"role": "user", "content": "See:", "images": [data]}]},
        "/api/generate": {"model": chat["model"], "stream": False, "prompt": "See:", "images": [data]},
    }
    counts = {"/v1/messages": ("usage", "input_tokens"), "/v1/responses": ("usage", "input_tokens")}
    for path, body in calls.items():
        if path.startswith("/api"):
            body["options"] = {"num_predict": NUM_TOKENS, "temperature": 0}
        response = await client.post(path, json=body)
        document = await response.json()
        assert response.status == 200, document
        where = counts.get(path)
        found = document["prompt_eval_count"] if where is None else document[where[0]][where[1]]
        assert found + document.get("usage", {}).get("cache_read_input_tokens", 0) == wanted["usage"]["prompt_tokens"], path
        if path == "/v1/responses":
            assert document["output"][0]["content"][0]["text"] == wanted["choices"][0]["message"]["content"]


async def test_an_image_by_name_needs_leave(client: TestClient) -> None:
    for url in ("http://example.org/a.png", "file:///etc/passwd"):
        part = {"type": "image_url", "image_url": {"url": url}}
        response = await client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": [part]}]})
        error = (await response.json())["error"]
        assert (response.status, error["param"]) == (400, "messages[0].content")
        assert "--allowed" in error["message"]


async def test_choices_of_a_prompt_that_ends_with_an_image(model: TinyVision, client: TestClient) -> None:
    picture = noise(40, 60)
    whole = await answer(client, [said("a"), shown(picture)], n=3, add_generation_prompt=False)
    wanted = expected(model, whole["prompt_token_ids"], [picture])
    assert [choice["token_ids"] for choice in whole["choices"]] == [wanted] * 3


async def test_answers_are_those_of_transformers(model: TinyVision, client: TestClient) -> None:
    first, second = noise(40, 60), noise(60, 40)
    chats: list[tuple[list[dict[str, Any]], list[np.ndarray]]] = [
        ([shown(first), said("What is it?")], [first]),
        ([said("What is it?"), shown(first)], [first]),
        ([said("Compare "), shown(first), said(" with "), shown(second), said(".")], [first, second]),
        ([shown(first), shown(first), said("Equal?")], [first, first]),
    ]
    together = await asyncio.gather(*(answer(client, parts) for parts, _ in chats))
    for (parts, pictures), document in zip(chats, together, strict=True):
        ours = document["choices"][0]["token_ids"]
        assert ours == expected(model, document["prompt_token_ids"], pictures)
        again = await answer(client, parts)
        assert again["choices"][0]["token_ids"] == ours
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] >= again["usage"]["prompt_tokens"] - 16


async def test_a_preempted_answer_goes_on_with_its_pictures(model: TinyVision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assemble, "Scheduler", Preempting)
    async with serving(model) as client:
        pictures = [noise(40, 60), noise(60, 40)]
        chats = [answer(client, [said("What "), shown(pixels), said("is it?")], max_tokens=64) for pixels in pictures]
        for pixels, document in zip(pictures, await asyncio.gather(*chats), strict=True):
            assert document["choices"][0]["token_ids"] == expected(model, document["prompt_token_ids"], [pixels], 64)
        assert "octavo_preemptions_total 1" in await (await client.get("/metrics")).text()


async def test_the_prefix_cache_tells_pictures_apart(model: TinyVision, client: TestClient) -> None:
    prompt = [said("The same words before it, more than a block of them."), shown(noise(40, 60)), said("What is it?")]
    await answer(client, prompt)
    other = [prompt[0], shown(noise(40, 60, seed=1)), prompt[2]]
    document = await answer(client, other)
    assert 0 < document["usage"]["prompt_tokens_details"]["cached_tokens"] <= 64
    assert document["choices"][0]["token_ids"] == expected(model, document["prompt_token_ids"], [noise(40, 60, seed=1)])


async def test_several_choices_and_log_probabilities_of_the_prompt(client: TestClient) -> None:
    parts = [shown(noise(40, 60)), said("What is it?")]
    document = await answer(client, parts, n=2, logprobs=True, prompt_logprobs=0)
    first, second = (choice["token_ids"] for choice in document["choices"])
    assert first == second
    assert len(document["prompt_logprobs"]) == document["usage"]["prompt_tokens"]


def test_offline_chats_show_images_in_any_form(model: TinyVision, tmp_path: Path) -> None:
    pixels = noise(40, 60)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    forms = [pixels, Image.fromarray(pixels), tmp_path / "noise.png", str(tmp_path / "noise.png"), (tmp_path / "noise.png").read_bytes()]
    parts = [{"type": "image", "image": form} for form in forms] + [shown(pixels)]
    chats = [[{"role": "user", "content": [part, said("What is it?")]}] for part in parts]
    with LLM(str(model.folder), device="cpu", arithmetic="exact", threads=2) as llm:
        outputs = llm.chat(chats, SamplingParams(temperature=0.0, max_tokens=NUM_TOKENS, ignore_eos=True))
        for wrong in (
            {"type": "image", "image": None},
            {"type": "image", "image": tmp_path / "absent.png"},
            {"type": "image", "image": b"x"},
        ):
            with pytest.raises(InvalidRequestError, match="image"):
                llm.chat([{"role": "user", "content": [wrong]}])
    answers = {tuple(output.outputs[0].token_ids) for output in outputs}
    assert answers == {tuple(expected(model, outputs[0].prompt_token_ids, [pixels]))}


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}, "--allowed-media-domains"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}, "not an image"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}, "base64"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "base64"),
        ({"type": "image_url"}, "image_url"),
        ({"type": "input_audio", "input_audio": {}}, "input_audio"),
        (said("<image>[IMG]<|image_pad|>"), "stands for one"),
    ],
)
async def test_what_cannot_be_shown_is_a_400(client: TestClient, part: dict[str, Any], says: str) -> None:
    body = {"messages": [{"role": "user", "content": [shown(noise(9, 9)), part]}], "max_tokens": 1}
    response = await client.post("/v1/chat/completions", json=body)
    error = (await response.json())["error"]
    assert response.status == 400, error
    assert says in error["message"]


async def test_a_decompression_bomb_is_a_400(client: TestClient) -> None:
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    response = await client.post("/v1/chat/completions", json=body)
    assert response.status == 400
    assert "pixels" in (await response.json())["error"]["message"]

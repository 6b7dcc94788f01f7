"""The routes that make vectors, over a real engine and a tiny random BERT: OpenAI's, Jina's, Cohere's and vLLM's shapes."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from fakes.fake_engine import fake_engine
from fakes.tiny_encoder import CLS, SEP, write_encoder
from octavo.assemble import build_engine
from octavo.config import EngineConfig, ServerConfig
from octavo.engine import AsyncEngine
from octavo.server.app import build_app

WIDTH = 32


@contextlib.asynccontextmanager
async def serving(folder: Path, head: str = "BertModel", **config: object) -> AsyncIterator[TestClient]:
    write_encoder(folder, head, **config)
    engine = build_engine(EngineConfig.of(model=str(folder), load_format="dummy", threads=1, log_stats_s=0))
    async with serving_engine(engine) as client:
        yield client


@contextlib.asynccontextmanager
async def serving_engine(engine: AsyncEngine) -> AsyncIterator[TestClient]:
    await engine.start()
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        yield client
    await engine.close()


@pytest.fixture
async def embedder(tmp_path) -> AsyncIterator[TestClient]:
    async with serving(tmp_path) as client:
        yield client


async def post(client: TestClient, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    async with client.post(path, json=body) as response:
        document = await response.json()
        assert response.status == status, document
        return document


async def vectors(client: TestClient, texts: Any, **body: Any) -> np.ndarray:
    document = await post(client, "/v1/embeddings", input=texts, **body)
    assert [entry["index"] for entry in document["data"]] == list(range(len(document["data"])))
    return np.array([entry["embedding"] for entry in document["data"]], np.float32)


# ---- /v1/embeddings ---------------------------------------------------------------------------------------------------------------


async def test_an_embedding_is_openais_document(embedder):
    document = await post(embedder, "/v1/embeddings", input="ab")
    assert document["object"] == "list" and document["data"][0]["object"] == "embedding"
    assert document["usage"]["prompt_tokens"] == document["usage"]["total_tokens"] == 4  # [CLS] a ##b [SEP]
    assert len(document["data"][0]["embedding"]) == WIDTH
    assert np.isclose(np.linalg.norm(document["data"][0]["embedding"]), 1.0)


async def test_many_texts_are_the_same_as_one_by_one(embedder):
    texts = ["ab", "c" * 40, "hello, world", "z"] * 20
    together = await vectors(embedder, texts)
    alone = np.concatenate([await vectors(embedder, text) for text in texts[:4]])
    assert np.array_equal(together[:4].view(np.int32), alone.view(np.int32))
    assert np.array_equal(together[:4], together[-4:])


async def test_token_ids_are_taken_as_they_are(embedder):
    by_text = await vectors(embedder, "ab")
    ids = (await post(embedder, "/tokenize", prompt="ab"))["tokens"]
    assert ids[0] == CLS and ids[-1] == SEP
    assert np.array_equal(await vectors(embedder, ids), by_text)
    assert np.array_equal((await vectors(embedder, [ids, ids]))[0], by_text[0])


async def test_base64_holds_the_same_floats(embedder):
    floats = await vectors(embedder, ["ab", "cd"])
    document = await post(embedder, "/v1/embeddings", input=["ab", "cd"], encoding_format="base64")
    rows = [np.frombuffer(base64.b64decode(entry["embedding"]), "<f4") for entry in document["data"]]
    assert np.array_equal(np.array(rows), floats)


async def test_dimensions_cut_and_normalise_again(embedder):
    whole = (await vectors(embedder, "ab", normalize=False))[0]
    short = (await vectors(embedder, "ab", dimensions=5))[0]
    assert np.allclose(short, whole[:5] / np.linalg.norm(whole[:5]), atol=1e-6)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, None),
        ({"input": [[]]}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": WIDTH + 1}, "dimensions"),
        ({"input": "a", "dimensions": 2**31}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "prompt_name": "query"}, "prompt_name"),
        ({"input": "a" * 100}, "input"),
        ({"input": [100]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"input": "a", "truncate_prompt_tokens": 2}, "truncate_prompt_tokens"),
        ({"input": "\ud800"}, None),
        ({"input": "a", "model": "other"}, "model"),
    ],
)
async def test_a_refusal_names_its_field(embedder, body, param):
    async with embedder.post("/v1/embeddings", json=body) as response:
        document = await response.json()
    if param is None:
        assert response.status in (200, 400), document
    else:
        assert 400 <= response.status < 500 and document["error"]["param"] == param, document
    assert len(await vectors(embedder, "ab")) == 1


async def test_a_long_text_is_cut_where_that_is_asked_for(embedder):
    cut = await vectors(embedder, "a" * 100, truncate_prompt_tokens=10)
    assert np.array_equal(cut, await vectors(embedder, "a" * 8))
    assert np.array_equal(await vectors(embedder, "a" * 100, truncate_prompt_tokens=-1), await vectors(embedder, "a" * 62))


async def test_prompts_of_the_model_come_first(tmp_path):
    settings = '{"prompts": {"query": "q: ", "doc": "d: "}, "default_prompt_name": "doc"}'
    (tmp_path / "config_sentence_transformers.json").write_text(settings)
    async with serving(tmp_path) as client:
        assert np.array_equal(await vectors(client, "ab"), await vectors(client, "ab", prompt_name="doc"))
        ids = (await post(client, "/tokenize", prompt="q: ab"))["tokens"]
        assert np.array_equal(await vectors(client, "ab", prompt_name="query"), await vectors(client, ids))


# ---- scores and ranks -------------------------------------------------------------------------------------------------------------


async def test_scores_of_embeddings_are_cosines(embedder):
    document = await post(embedder, "/score", text_1="ab", text_2=["ab", "xyz"])
    rows = await vectors(embedder, ["ab", "xyz"])
    assert [entry["index"] for entry in document["data"]] == [0, 1]
    assert np.allclose([entry["score"] for entry in document["data"]], rows @ rows[0], atol=1e-6)


async def test_pairs_of_lists(embedder):
    document = await post(embedder, "/v1/score", text_1=["a", "b"], text_2=["a", "b"])
    assert np.allclose([entry["score"] for entry in document["data"]], 1.0)
    await post(embedder, "/v1/score", 400, text_1=["a", "b"], text_2=["a", "b", "c"])


async def test_a_cross_encoder_reads_both_texts(tmp_path):
    async with serving(tmp_path, "BertForSequenceClassification", id2label={"0": "relevance"}, num_labels=1) as client:
        document = await post(client, "/score", text_1="ab", text_2=["ab", "xyz"])
        scores = [entry["score"] for entry in document["data"]]
        assert all(0 < score < 1 for score in scores) and scores[0] != scores[1]
        swapped = await post(client, "/score", text_1="xyz", text_2="ab")
        assert swapped["data"][0]["score"] != scores[1]  # token types tell the texts apart
        logits = await post(client, "/score", text_1="ab", text_2=["ab", "xyz"], use_activation=False)
        assert np.allclose([1 / (1 + np.exp(-entry["score"])) for entry in logits["data"]], scores, atol=1e-6)
        ranked = await post(client, "/rerank", query="ab", documents=["ab", "xyz"])
        assert sorted(scores, reverse=True) == [result["relevance_score"] for result in ranked["results"]]


async def test_jina_and_cohere_ranks(embedder):
    documents = ["xyz", "ab", "abc"]
    jina = await post(embedder, "/v1/rerank", query="ab", documents=[documents[0], {"text": documents[1]}, documents[2]], top_n=2)
    assert jina["results"][0]["index"] == 1 and jina["results"][0]["document"] == {"text": "ab"} and len(jina["results"]) == 2
    assert jina["usage"]["total_tokens"] > 0
    cohere = await post(embedder, "/v2/rerank", query="ab", documents=documents, max_tokens_per_doc=5)
    assert cohere["results"][0]["index"] == 1 and "document" not in cohere["results"][0]
    assert cohere["meta"]["billed_units"] == {"search_units": 1}


# ---- classes ----------------------------------------------------------------------------------------------------------------------


async def test_classes_have_names_and_probabilities(tmp_path):
    labels = {"0": "bad", "1": "fair", "2": "good"}
    async with serving(tmp_path, "BertForSequenceClassification", id2label=labels) as client:
        document = await post(client, "/classify", input=["ab", "xyz"])
        for entry in document["data"]:
            assert entry["num_classes"] == 3 and np.isclose(sum(entry["probs"]), 1.0, atol=1e-6)
            assert entry["label"] == labels[str(int(np.argmax(entry["probs"])))]
        await post(client, "/v1/embeddings", 400, input="a")
        await post(client, "/score", 400, text_1="a", text_2="b")


async def test_classes_of_tokens(tmp_path):
    async with serving(tmp_path, "BertForTokenClassification", id2label={"0": "O", "1": "PER"}) as client:
        document = await post(client, "/pooling", input="ab")
        assert np.array(document["data"][0]["data"]).shape == (4, 2)
        await post(client, "/classify", 400, input="a")


async def test_vectors_of_tokens(embedder):
    document = await post(embedder, "/pooling", input=["ab", "c"], task="token_embed", normalize=False)
    rows = [np.array(entry["data"]) for entry in document["data"]]
    assert [row.shape for row in rows] == [(4, WIDTH), (3, WIDTH)]
    mean = (await vectors(embedder, "ab", normalize=False))[0]
    assert np.allclose(rows[0].mean(0), mean, atol=1e-5)
    await post(embedder, "/pooling", 400, input="a", task="classify")


# ---- the wrong kind of model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "a"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/responses", {"input": "a"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "a"}], "max_tokens": 5}),
        ("/api/chat", {"model": "x", "messages": [{"role": "user", "content": "a"}]}),
    ],
)
async def test_an_embedder_makes_no_text(embedder, path, body):
    if path.startswith("/api"):
        body = {**body, "model": (await (await embedder.get("/v1/models")).json())["data"][0]["id"]}
    async with embedder.post(path, json=body) as response:
        assert 400 <= response.status < 500, await response.text()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/pooling", {"input": "a"}),
        ("/classify", {"input": "a"}),
        ("/score", {"text_1": "a", "text_2": "b"}),
        ("/rerank", {"query": "a", "documents": ["b"]}),
    ],
)
async def test_a_generator_makes_no_vectors(path, body):
    async with serving_engine(fake_engine()) as client:
        document = await post(client, path, 400, **body)
        assert document["error"]["param"] == "model" and "makes text, not vectors" in document["error"]["message"]


async def test_the_openai_client(embedder):
    openai = pytest.importorskip("openai")
    base_url = str(embedder.make_url("/v1"))
    async with openai.AsyncOpenAI(base_url=base_url, api_key="-") as client:
        name = (await client.models.list()).data[0].id
        made = await client.embeddings.create(model=name, input=["ab", "xyz"])  # asks for base64 by itself
        assert np.allclose(np.array([entry.embedding for entry in made.data]), await vectors(embedder, ["ab", "xyz"]))
        short = await client.embeddings.create(model=name, input="ab", dimensions=4, encoding_format="float")
        assert len(short.data[0].embedding) == 4
        with pytest.raises(openai.BadRequestError):
            await client.embeddings.create(model=name, input="ab", dimensions=1000)
        with pytest.raises(openai.BadRequestError):
            await client.completions.create(model=name, prompt="ab")

"""`prompt_embeds`: a prompt's own embeddings give its own answer, whatever file carries them; bad ones are refused by name."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from fakes.tiny_vision import make_tiny_vision
from octavo import LLM, SamplingParams
from octavo.assemble import build_engine
from octavo.config import EngineConfig, PlacementConfig, SchedulingConfig, ServerConfig
from octavo.errors import ConfigError, InvalidRequestError
from octavo.server.app import build_app

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

PROMPT = [256, *range(40, 80)]
WIDTH = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_tiny_vision("llava-clip", tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def embeddings(model: Any) -> np.ndarray:
    with torch.no_grad():
        return model.model.get_input_embeddings()(torch.tensor(PROMPT)).float().numpy()


def config(folder: Path, **settings: Any) -> EngineConfig:
    return EngineConfig(
        str(folder),
        enable_prompt_embeds=True,
        scheduling=SchedulingConfig(max_num_batched_tokens=24, max_num_seqs=8),
        placement=PlacementConfig(device="cpu", arithmetic="exact", threads=2),
        **settings,
    )


@pytest.fixture
async def client(model: Any) -> AsyncIterator[TestClient]:
    engine = build_engine(config(model.folder))
    await engine.start()
    async with TestClient(TestServer(build_app(engine, ServerConfig()))) as client:
        yield client
    await engine.close()


def npy(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def safetensors(rows: np.ndarray, dtype: str = "F32", shape: list[int] | None = None) -> bytes:
    entry = {"dtype": dtype, "shape": list(rows.shape) if shape is None else shape, "data_offsets": [0, rows.nbytes]}
    header = json.dumps({"__metadata__": {"format": "np"}, "prompt": entry}).encode()
    return with_length(header) + rows.tobytes()


def with_length(header: bytes) -> bytes:
    """The beginning of a safetensors file."""
    return len(header).to_bytes(8, "little") + header


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def complete(client: TestClient, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"max_tokens": 12, "temperature": 0, "ignore_eos": True, "return_token_ids": True, **fields}
    response = await client.post("/v1/completions", json=body)
    return response.status, await response.json()


async def test_embeddings_of_a_prompt_give_its_answer(client: TestClient, embeddings: np.ndarray) -> None:
    status, of_tokens = await complete(client, prompt=PROMPT, logprobs=2)
    assert status == 200, of_tokens
    files = [npy(embeddings), npy(np.asfortranarray(embeddings)), npy(embeddings[None]), safetensors(embeddings)]
    for data in files:
        status, answer = await complete(client, prompt="", prompt_embeds=encoded(data), logprobs=2)
        assert status == 200, answer
        assert answer["choices"][0]["token_ids"] == of_tokens["choices"][0]["token_ids"]
        assert answer["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(of_tokens["choices"][0]["logprobs"]["token_logprobs"])
        assert answer["usage"]["prompt_tokens"] == len(PROMPT)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 32  # equal content, equal blocks


async def test_other_embeddings_share_no_blocks_and_halves_are_taken(client: TestClient, embeddings: np.ndarray) -> None:
    bfloat16 = (embeddings.view(np.uint32) >> 16).astype(np.uint16)
    texts = [npy(embeddings.astype(np.float16)), safetensors(bfloat16, "BF16"), npy(embeddings + np.float32(0.01))]
    answers = []
    for data in texts:
        status, answer = await complete(client, prompt_embeds=encoded(data))
        assert (status, answer["usage"]["prompt_tokens_details"]["cached_tokens"]) == (200, 0)
        answers.append(answer["choices"][0]["token_ids"])
    rounded = (bfloat16.astype(np.uint32) << 16).view(np.float32)
    assert (await complete(client, prompt_embeds=encoded(npy(rounded))))[1]["choices"][0]["token_ids"] == answers[1]


async def test_several_come_before_the_prompts_and_beside_others(client: TestClient, embeddings: np.ndarray) -> None:
    both = ["data:application/octet-stream;base64," + encoded(npy(rows)) for rows in (embeddings, embeddings[:7])]
    status, answer = await complete(client, prompt=["x", PROMPT], prompt_embeds=both, n=2)
    assert status == 200, answer
    texts = [choice["token_ids"] for choice in answer["choices"]]
    assert len(texts) == 8
    assert texts[0] == texts[6] != texts[2]
    alone = (await complete(client, prompt=PROMPT[:7]))[1]["choices"][0]["token_ids"]
    assert texts[2] == texts[3] == alone


async def test_the_worst_legal_values_end_no_server(client: TestClient, embeddings: np.ndarray) -> None:
    worst = np.full((9, WIDTH), 65504.0, np.float32)
    for rows in (worst, -worst, np.zeros((9, WIDTH), np.float32), np.full((1, WIDTH), 1e-45, np.float32)):
        assert (await complete(client, prompt_embeds=encoded(npy(rows))))[0] == 200
    assert (await complete(client, prompt_embeds=encoded(npy(embeddings))))[0] == 200


def _npy_header(text: str) -> bytes:
    raw = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


BAD = {
    "not base64": "*",
    "a pickle": encoded(b"\x80\x02}q\x00."),
    "empty": "",
    "one dimension": encoded(npy(np.zeros(WIDTH, np.float32))),
    "no rows": encoded(npy(np.zeros((0, WIDTH), np.float32))),
    "another width": encoded(npy(np.zeros((4, WIDTH + 1), np.float32))),
    "too many rows": encoded(npy(np.zeros((512, WIDTH), np.float32))),
    "float64": encoded(npy(np.zeros((4, WIDTH)))),
    "integers": encoded(npy(np.zeros((4, WIDTH), np.int32))),
    "objects": encoded(_npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (4, 64), }")),
    "NaN": encoded(npy(np.full((4, WIDTH), np.nan, np.float32))),
    "infinity": encoded(npy(np.full((4, WIDTH), -np.inf, np.float16))),
    "beyond half floats": encoded(npy(np.full((4, WIDTH), 1e30, np.float32))),
    "cut off": encoded(npy(np.zeros((4, WIDTH), np.float32))[:-1]),
    "a shape that lies": encoded(_npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (100000000, 64), }")),
    "a negative shape": encoded(_npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -64), }") + bytes(1024)),
    "a deep header": encoded(_npy_header("(" * 9000)),
    "no header": encoded(b"\x93NUMPY\x01\x00"),
    "safetensors of another type": encoded(safetensors(np.zeros((4, WIDTH)), "F64")),
    "safetensors that lie": encoded(safetensors(np.zeros((4, WIDTH), np.float32), shape=[5, WIDTH])),
    "safetensors with text sizes": encoded(
        (b := b'{"a":{"dtype":"F32","shape":["x",64],"data_offsets":[0,0]}}') and len(b).to_bytes(8, "little") + b
    ),
    "safetensors without tensors": encoded(with_length(b"{}")),
    "safetensors of odd types": encoded(
        (b := b'{"a":{"dtype":[1],"shape":[4,64],"data_offsets":["x",0]}}') and len(b).to_bytes(8, "little") + b
    ),
    "a header beyond the file": encoded((1 << 60).to_bytes(8, "little") + b'{"a":1}'),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_embeddings_are_refused_by_name(client: TestClient, name: str) -> None:
    status, answer = await complete(client, prompt_embeds=BAD[name])
    assert (status, answer["error"]["param"]) == (400, "prompt_embeds"), answer


@pytest.mark.parametrize(
    "field", [{"echo": True}, {"suffix": "x"}, {"prompt_logprobs": 1}, {"repetition_penalty": 1.1}, {"truncate_prompt_tokens": 2}]
)
async def test_fields_that_need_tokens_are_refused(client: TestClient, embeddings: np.ndarray, field: dict[str, Any]) -> None:
    status, answer = await complete(client, prompt_embeds=encoded(npy(embeddings)), **field)
    assert (status, answer["error"]["param"]) == (400, next(iter(field))), answer


async def test_a_model_that_makes_vectors_refuses_the_flag(model: Any) -> None:
    with pytest.raises(ConfigError, match="--enable-prompt-embeds"):
        build_engine(config(model.folder, task="embed"))


def test_offline(model: Any, embeddings: np.ndarray) -> None:
    greedy = SamplingParams(max_tokens=8, temperature=0, ignore_eos=True)
    with LLM(str(model.folder), enable_prompt_embeds=True, device="cpu", arithmetic="exact", threads=2) as llm:
        prompts = [{"prompt_token_ids": PROMPT}, {"prompt_embeds": embeddings}, {"prompt_embeds": torch.tensor(embeddings)[None]}]
        texts = [output.outputs[0].token_ids for output in llm.generate(prompts, greedy)]
        assert texts[0] == texts[1] == texts[2]
        for bad in (embeddings[:, 1:], embeddings * np.nan, embeddings.astype(np.int32), [["a"]]):
            with pytest.raises(InvalidRequestError, match="prompt_embeds"):
                llm.generate([{"prompt_embeds": bad}], greedy)

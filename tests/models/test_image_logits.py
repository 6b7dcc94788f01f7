"""Logits of prompts that show pictures, against transformers': whole and in chunks, by both executors; positions with three axes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executors import SHAPE

from fakes.tiny_vision import VISION_MODELS, TinyVision, make_tiny_vision, noise
from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import open_checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError
from octavo.models import model_config
from octavo.multimodal import ImageInputs, open_image_processor, place_images
from octavo.runner.axis_positions import axis_positions
from octavo.runner.eager import EagerExecutor
from octavo.runner.media import MediaStore, TowerProgram
from octavo.runner.step_program import StepProgramExecutor
from octavo.text import open_tokenizer
from octavo.towers import media_levels
from octavo.types import MediaSpan, Picture

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

PICTURES = [noise(40, 60), noise(60, 33), noise(28, 28)]
AXES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="module", params=list(VISION_MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyVision:
    return make_tiny_vision(request.param, tmp_path_factory.mktemp(request.param))


def prompt_of(model: TinyVision) -> tuple[list[int], tuple[Picture, ...], tuple[MediaSpan, ...]]:
    processor = open_image_processor(model.folder, json.loads((model.folder / "config.json").read_bytes()))
    assert processor is not None
    tokenizer = open_tokenizer(open_checkpoint(model.folder))
    images: list[ImageInputs] = [processor.process(pixels) for pixels in PICTURES]
    text = f"One {images[0].text}, two {images[1].text} {images[2].text} and the end of it."
    token_ids = tokenizer.encode(text, add_special_tokens=False)
    return token_ids, *place_images(tokenizer.encode, processor.image_token, token_ids, images)


def of_transformers(model: TinyVision, token_ids: list[int]) -> dict[str, Any]:
    ids = torch.tensor([token_ids])
    inputs = model.inputs(PICTURES)
    if "image_grid_thw" in inputs:
        inputs["mm_token_type_ids"] = (ids == model.model.config.image_token_id).int()
    return {"input_ids": ids, **inputs}


def logits_of(executor: Any, store: MediaStore, prompt: Any, chunk: int) -> np.ndarray:
    token_ids, pictures, media = prompt
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size)
    batch.start_row(0, token_ids, len(token_ids))
    store.start_row(0, pictures, media)
    made = []
    for start in range(0, len(token_ids), chunk):
        count = min(chunk, len(token_ids) - start)
        blocks = [] if start else list(range(-(-len(token_ids) // SHAPE.block_size)))
        batch.prepare([0], [count], [[blocks]], [count])
        step = ([0], [start], [count])
        made.append(executor.execute(batch, store.of_step(*step), store.axis_positions(*step)).copy())
    store.end_row(0)
    return np.concatenate(made)


@pytest.fixture(scope="module")
def config(model: TinyVision) -> ModelConfig:
    checkpoint = open_checkpoint(model.folder)
    return replace(model_config(checkpoint), reads_media=True, media_levels=media_levels(checkpoint))


def test_logits_are_those_of_transformers_whatever_the_chunks(model: TinyVision, config: ModelConfig) -> None:
    prompt = prompt_of(model)
    checkpoint = open_checkpoint(model.folder)
    half, pool = checkpoint.media_half(), ThreadPool(2)
    assert half is not None
    store = MediaStore(TowerProgram(half, pool), 1 << 20)
    with torch.no_grad():
        expected = model.model(**of_transformers(model, prompt[0])).logits[0].numpy()
    program = StepProgramExecutor(config, checkpoint, SHAPE, pool)
    whole = logits_of(program, store, prompt, 512)
    oracle = logits_of(EagerExecutor(config, checkpoint, SHAPE, "cpu"), store, prompt, 512)
    for logits in (whole, oracle):
        assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    for chunk in (1, 7):
        assert np.array_equal(logits_of(program, store, prompt, chunk).view(np.int32), whole.view(np.int32))


def test_positions_are_those_of_transformers(model: TinyVision) -> None:
    token_ids, pictures, media = prompt_of(model)
    ours = axis_positions(media, {picture.key: picture for picture in pictures})
    if model.folder.name.rstrip("0123456789") not in AXES:
        assert ours is None
        return
    inputs = of_transformers(model, token_ids)
    ids, types = inputs["input_ids"], inputs["mm_token_type_ids"]
    expected, delta = model.model.model.get_rope_index(ids, types, image_grid_thw=inputs["image_grid_thw"])
    assert ours is not None
    assert np.array_equal(ours.of(0, len(token_ids)), expected[:, 0].T.numpy())
    assert ours.shift == int(delta)
    assert np.array_equal(ours.of(3, 40), expected[:, 0, 3:43].T.numpy())


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_the_first_files_have_the_decoders_keys_at_the_top(name: str, tmp_path: Path) -> None:
    make_tiny_vision(name, tmp_path)
    nested = model_config(open_checkpoint(tmp_path))
    path = tmp_path / "config.json"
    config = json.loads(path.read_bytes())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    text |= {"rope_theta": rope["rope_theta"], "rope_scaling": {"type": "mrope", "mrope_section": rope["mrope_section"]}}
    path.write_text(json.dumps(text | config))
    assert model_config(open_checkpoint(tmp_path)) == nested
    assert open_image_processor(tmp_path, json.loads(path.read_bytes())) is not None


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"text_config": {"rope_parameters": {"mrope_section": [2, 3, 4]}}}, "mrope_section"),
        ({"vision_config": {"num_heads": 3}}, "num_heads"),
        ({"vision_config": {"patch_size": 8}}, "patch_size"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes: dict[str, Any], names: str, tmp_path: Path) -> None:
    make_tiny_vision("qwen2_vl", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_bytes())
    for section, keys in changes.items():
        for key, value in keys.items():
            config[section][key] = config[section][key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=names):
        checkpoint = open_checkpoint(tmp_path)
        model_config(checkpoint)
        half = checkpoint.media_half()
        assert half is not None
        open_image_processor(tmp_path, config)
        TowerProgram(half, ThreadPool(1))

"""Vision towers against transformers, on tiny random models: the pixels that go in, and the rows that a decoder reads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fakes.tiny_vision import VISION_MODELS, TinyVision, make_tiny_vision, noise
from octavo._kernels import ThreadPool
from octavo.checkpoint import open_checkpoint
from octavo.multimodal import ImageInputs, open_image_processor, picture_of
from octavo.runner.media import TowerProgram

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

SIZES = [(40, 60), (28, 28), (100, 31)]


@pytest.fixture(scope="module", params=list(VISION_MODELS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyVision:
    return make_tiny_vision(request.param, tmp_path_factory.mktemp(request.param))


def prepared(model: TinyVision, pixels: np.ndarray) -> ImageInputs:
    processor = open_image_processor(model.folder, json.loads((model.folder / "config.json").read_bytes()))
    assert processor is not None
    inputs = processor.process(pixels)
    assert inputs.num_tokens <= processor.most_tokens
    assert inputs.text.count(processor.image_token) == inputs.num_tokens
    return inputs


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_those_of_transformers(model: TinyVision, size: tuple[int, int]) -> None:
    pixels = noise(*size)
    inputs, tiles = prepared(model, pixels), model.inputs([pixels])["pixel_values"].numpy()
    if tiles.ndim == 2:  # patches already, in the order of the decoder's rows
        patches = inputs.patches[inputs.selected.reshape(-1), : tiles.shape[1]]
        assert patches.shape == tiles.shape
        assert np.abs(patches - tiles).max() <= 1 / 255
        return
    tiles = tiles.reshape(-1, *tiles.shape[-3:])
    rows, columns = tiles.shape[-2] // 7, tiles.shape[-1] // 7
    expected = tiles.reshape(-1, 3, rows, 7, columns, 7).transpose(0, 2, 4, 1, 3, 5).reshape(len(tiles), rows * columns, -1)
    patches = inputs.patches.reshape(len(tiles), -1, expected.shape[-1])[:, -rows * columns :]
    assert np.abs(patches - expected).max() <= 1 / 255


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_rows_are_those_of_transformers(model: TinyVision, size: tuple[int, int]) -> None:
    pixels = noise(*size)
    half = open_checkpoint(model.folder).media_half()
    assert half is not None
    rows = TowerProgram(half, ThreadPool(2)).encode(picture_of(prepared(model, pixels)))
    with torch.no_grad():
        made = model.model.model.get_image_features(**model.inputs([pixels]))
        levels = [list(made.pooler_output), *map(list, getattr(made, "deepstack_features", ()))]
        expected = torch.cat([torch.cat(level).flatten(0, -2) for level in levels], dim=1).numpy()
    assert rows.shape == expected.shape
    assert np.abs(rows - expected).max() <= 1e-4 * np.abs(expected).max()

"""The CUDA library without a GPU: it loads, says why nothing runs, and lowers graphs of tiny decoders to launches."""

from __future__ import annotations

from collections import Counter

import pytest

from fakes.tiny_models import CONFIGS, tiny_checkpoint
from octavo._kernels import CudaLibrary, Graph
from octavo.models import model_config
from octavo.ops.record import RecordOps
from octavo.platforms._gpu import library_path
from octavo.runner.cuda_placement import CudaPlacement
from octavo.runner.executor import StepShape, build_model

SHAPE = StepShape(max_num_seqs=8, max_num_tokens=256, max_num_logits=64, max_model_len=256, num_blocks=128, block_size=16)


@pytest.fixture(scope="module")
def library() -> CudaLibrary:
    path = library_path()
    if path is None:
        pytest.skip("built without -DOCTAVO_CUDA=ON")
    return CudaLibrary(str(path))


def launches(library: CudaLibrary, name: str, folder) -> Counter[str]:
    device = library.open(dry=True)
    checkpoint = tiny_checkpoint(name, folder)
    graph = Graph()
    model = build_model(model_config(checkpoint), checkpoint, CudaPlacement(device), RecordOps(graph), SHAPE)
    graph.output("logits", model.forward(None))
    program = device.lower(graph, 8, 256, 64, 256)
    assert program.num_bytes > 0
    return Counter(program.describe().split())


def test_a_layer_of_llama_is_six_launches(library, tmp_path):
    """Rotation of q and k and the write to the cache are one; so are a product, the norm before and what follows."""
    layer = {"norm_linear": 1, "norm_linear_silu_and_mul": 1, "linear_add": 2, "rotary_store_kv": 1, "paged_attention": 1}
    once = {"embedding": 1, "rms_norm": 1, "select_logits_rows": 1, "lm_head": 1}
    assert launches(library, "llama", tmp_path) == Counter({op: 2 * count for op, count in layer.items()}) + Counter(once)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_is_lowered(library, name, tmp_path):
    found = launches(library, name, tmp_path)
    assert found["paged_attention"] + found["mla_attention"] == 2

"""gpt-oss with experts in MXFP4, as its files come, gives the logits of transformers with the same values dequantised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from executors import all_logits, eager, step_program
from make_tiny_checkpoint import make_tiny_checkpoint
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from octavo.errors import CheckpointError

TOKENS = list(range(60))


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """(in MXFP4, the same values in float32)."""
    plain = make_tiny_checkpoint("gpt_oss", tmp_path / "plain")
    tensors, packed = load_file(plain / "model.safetensors"), {}
    generator = torch.Generator().manual_seed(0)
    for name, value in list(tensors.items()):
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            num_experts, num_in, num_out = value.shape
            sizes = (num_experts, num_out, num_in // 32)
            blocks = torch.randint(0, 256, (*sizes, 16), generator=generator).to(torch.uint8)
            scales = torch.randint(122, 127, sizes, generator=generator).to(torch.uint8)
            tensors[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
            packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        else:
            packed[name] = value
    save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
    quantised = tmp_path / "mxfp4"
    quantised.mkdir()
    config = json.loads((plain / "config.json").read_text()) | {"quantization_config": {"quant_method": "mxfp4"}}
    (quantised / "config.json").write_text(json.dumps(config))
    save_file(packed, quantised / "model.safetensors")
    return quantised, plain


@pytest.mark.parametrize("build", [step_program, eager])
def test_logits_equal_those_of_the_dequantised_model(folders, build):
    quantised, plain = folders
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        expected = model(torch.tensor([TOKENS])).logits[0].numpy()
    assert np.abs(all_logits(build(quantised), TOKENS) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_stacks_that_are_not_whole_are_refused(folders):
    quantised, _ = folders
    tensors = load_file(quantised / "model.safetensors")
    name = "model.layers.0.mlp.experts.down_proj"
    scales = tensors.pop(f"{name}_scales")
    save_file(tensors, quantised / "model.safetensors")
    with pytest.raises(CheckpointError, match="down_proj_blocks and _scales one is missing"):
        step_program(quantised)
    save_file(tensors | {f"{name}_scales": torch.full_like(scales, 250)}, quantised / "model.safetensors")
    with pytest.raises(CheckpointError, match="a power of two is beyond those of half floats"):
        step_program(quantised)
    (quantised / "config.json").write_text((quantised / "config.json").read_text().replace("mxfp4", "gptq"))
    with pytest.raises(CheckpointError, match="quant_method is 'gptq'"):
        step_program(quantised)

"""Every family through the engine: 64 greedy tokens of a crowd, in chunks and with preemptions, against transformers' own choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from harness import run_engine
from make_tiny_checkpoint import MODEL_TYPES, make_tiny_checkpoint
from test_state_models import CASES as STATE_CASES
from transformers import AutoModelForCausalLM

from octavo import assemble
from octavo.scheduler import Scheduler

NUM_TOKENS = 64
NEAR_TIE = 1e-4  # of the largest logit
TESTED_THERE = {model_type for model_type, _ in STATE_CASES.values()}  # with the memory of their states


@pytest.mark.parametrize("model_type", sorted(set(MODEL_TYPES) - TESTED_THERE))
def test_a_crowd_gets_the_tokens_of_transformers(model_type, tmp_path, monkeypatch):
    folder = make_tiny_checkpoint(model_type, tmp_path)
    monkeypatch.setattr(assemble, "Scheduler", Preempting)
    shared = random_tokens(40, seed=9)
    prompts = [shared + random_tokens(5 + 13 * seed, seed) for seed in range(3)]
    # Two run at once, a third waits: it finds the others' prefix in the cache.
    settings = {"together": True, "arithmetic": "exact", "max_model_len": 256, "max_num_seqs": 2, "max_num_batched_tokens": 24}
    run = run_engine(folder, prompts, max_tokens=NUM_TOKENS, monkeypatch=monkeypatch, **settings)
    assert run.num_preemptions > 0
    assert max(run.num_cached_tokens) >= 32
    check_tokens(folder, prompts, run.token_ids)


def random_tokens(size: int, seed: int) -> list[int]:
    return torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(seed)).tolist()


def check_tokens(folder: Path, prompts: list[list[int]], outputs: list[list[int]]) -> None:
    """Each token is what transformers would choose, or so near that float32 cannot tell."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    for prompt, output in zip(prompts, outputs, strict=True):
        assert len(output) == NUM_TOKENS
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + output[:-1]])).logits[0, len(prompt) - 1 :].numpy()
        chosen, best = logits[np.arange(NUM_TOKENS), output], logits.max(-1)
        assert (best - chosen <= NEAR_TIE * np.abs(logits).max()).all()


class Preempting(Scheduler):
    """Takes the blocks of the sequence that came last away once, when it has begun to answer."""

    def schedule(self, *args):
        if self.num_preemptions == 0 and len(self.batch.running) and len(self.batch.running.last.output_token_ids) > 5:
            self.batch.preempt(self.batch.running.last)
        return super().schedule(*args)

"""Greedy tokens of real models against transformers: both read the same GGUF file, dequantised, in float32."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from harness import run_engine
from prompts import CHATS, LONG, RAW

from octavo.checkpoint import open_checkpoint
from octavo.text import open_tokenizer

MAX_TOKENS = 64
NEAR_TIE = 1e-2


def reference_model(path: Path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32).eval()


def disagreements(reference, prompt: list[int], output: list[int]) -> list[tuple[int, float]]:
    """Steps at which the reference, given the same tokens before, prefers another one: (step, gap of its two best logits)."""
    with torch.inference_mode():
        logits = reference(torch.tensor([prompt + output[:-1]])).logits[0, len(prompt) - 1 :]
    best = logits.topk(2)
    gaps = best.values[:, 0] - best.values[:, 1]
    return [(step, float(gaps[step])) for step, token in enumerate(output) if int(best.indices[step, 0]) != token]


def check_greedy(path: Path, prompts: list[list[int]], monkeypatch) -> None:
    outputs = run_engine(path, prompts, max_tokens=MAX_TOKENS, together=True, arithmetic="exact", monkeypatch=monkeypatch).token_ids
    reference = reference_model(path)
    ties = []
    for index, (prompt, output) in enumerate(zip(prompts, outputs, strict=True)):
        assert len(output) == MAX_TOKENS
        for step, gap in disagreements(reference, prompt, output):
            assert gap <= NEAR_TIE, f"prompt {index}, step {step}: the reference prefers another token by {gap:.4f}"
            ties.append(f"prompt {index} step {step} gap {gap:.2e}")
    print(f"\n{path.name}: {len(prompts)} prompts x {MAX_TOKENS} greedy tokens equal; near ties: {ties or 'none'}")


def test_smollm2(smollm2, monkeypatch):
    tokenizer = open_tokenizer(open_checkpoint(smollm2))
    texts = [*RAW, *(tokenizer.chat_template.render(chat) for chat in CHATS), LONG]
    prompts = [tokenizer.encode(text) for text in texts]
    assert len(prompts) >= 20
    assert max(map(len, prompts)) >= 1500
    check_greedy(smollm2, prompts, monkeypatch)


@pytest.mark.slow
def test_gemma3(gemma3, monkeypatch):
    tokenizer = open_tokenizer(open_checkpoint(gemma3))
    prompts = [tokenizer.encode(text) for text in [*RAW, *(chat[-1]["content"] for chat in CHATS), LONG]]
    check_greedy(gemma3, prompts, monkeypatch)

"""Seconds from an image to the first token of the answer on this processor: Octavo and transformers, by turns in one run.

    python tools/bench/images.py [--rounds 3] [--longest-edge 1024] [--layers N] [--threads N]

Makes a model of SmolVLM-256M's shape with random weights and shows it a new picture of noise each time, through chat template, image
processor, tower and prefill: of 1024 x 1024 pixels 5 tiles and some 350 tokens. Each side is a process of its own with the same folder,
the same pictures and as many threads: Octavo with its defaults, transformers in float32. Beside the clock stands the time of cores, which
says more on a busy machine. `--layers` cuts both halves of the model down, to try the script itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

SIDES = ("octavo", "transformers")
SIZE = 1024  # pixels on a side of the pictures
QUESTION = "What is in this picture?"
SPECIAL = ["<|bos|>", "<|eos|>", "<image>", "<fake_token_around_image>", "<global-img>"]
SPECIAL += [f"<row_{row}_col_{column}>" for row in range(1, 9) for column in range(1, 9)]
TEMPLATE = (
    "{% for message in messages %}User:{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}"
    "{{ part['text'] }}{% endif %}{% endfor %}{% endfor %} Assistant:"
)
Answer = Callable[[Any], int]


def make_model(folder: Path, longest_edge: int, layers: int | None) -> None:
    """SmolVLM-256M's shape: SigLIP base at 512 pixels, squares of 4 x 4 patches, SmolLM2-135M."""
    import torch
    import transformers

    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "image_size": 512, "patch_size": 16}
    text = {"vocab_size": 49280, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
    config = transformers.SmolVLMConfig(
        vision_config=transformers.SmolVLMVisionConfig(**vision, num_hidden_layers=layers or 12),
        text_config=transformers.LlamaConfig(**text, num_hidden_layers=layers or 30, max_position_embeddings=8192, eos_token_id=257),
        image_token_id=256 + SPECIAL.index("<image>"),
        scale_factor=4,
    )
    torch.manual_seed(0)
    transformers.SmolVLMForConditionalGeneration(config).eval().save_pretrained(folder)
    sizes = {"size": {"longest_edge": longest_edge}, "max_image_size": {"longest_edge": 512}}
    transformers.SmolVLMImageProcessorPil(**sizes).save_pretrained(folder)
    _write_tokenizer(folder)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    tokenizer = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def octavo_side(folder: Path, threads: int) -> Answer:
    """Returns what answers a picture with one token, and the number of tokens of its prompt."""
    from octavo import LLM, SamplingParams

    llm = LLM(str(folder), device="cpu", threads=threads, log_stats_s=0)
    params = SamplingParams(temperature=0.0, max_tokens=1, ignore_eos=True)

    def answer(pixels: Any) -> int:
        parts = [{"type": "image", "image": pixels}, {"type": "text", "text": QUESTION}]
        (output,) = llm.chat([[{"role": "user", "content": parts}]], params)
        return len(output.prompt_token_ids)

    return answer


def transformers_side(folder: Path, threads: int) -> Answer:
    import numpy as np
    import torch
    from PIL import Image
    from tokenizers import Tokenizer
    from transformers import SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil

    torch.set_num_threads(threads)
    model = SmolVLMForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor, tokenizer = SmolVLMImageProcessorPil.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    around = "<fake_token_around_image>"

    def text_of(rows: int, columns: int) -> str:
        shown = "<image>" * 64
        tiles = ["".join(f"{around}<row_{row}_col_{column}>{shown}" for column in range(1, columns + 1)) for row in range(1, rows + 1)]
        lines = "\n".join(tiles) + "\n\n" if tiles else ""
        return f"User:{lines}{around}<global-img>{shown}{around}{QUESTION} Assistant:"

    def answer(pixels: Any) -> int:
        made = processor([[Image.fromarray(pixels)]], return_tensors="np", return_row_col_info=True)
        ids = tokenizer.encode(text_of(made["rows"][0][0], made["cols"][0][0]), add_special_tokens=False).ids
        inputs = {name: torch.from_numpy(np.asarray(made[name])) for name in ("pixel_values", "pixel_attention_mask")}
        with torch.inference_mode():
            model.generate(torch.tensor([ids]), **inputs, max_new_tokens=1, do_sample=False)
        return len(ids)

    return answer


def run_side(side: str, folder: Path, threads: int) -> None:
    """Answer a line on standard input, the number of a picture, with one on standard output: seconds, seconds of cores, tokens."""
    import numpy as np

    answer = {"octavo": octavo_side, "transformers": transformers_side}[side](folder, threads)
    print("ready", flush=True)
    for line in sys.stdin:
        pixels = np.random.default_rng(int(line)).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        started, cores = time.perf_counter(), time.process_time()
        tokens = answer(pixels)
        print(json.dumps([time.perf_counter() - started, time.process_time() - cores, tokens]), flush=True)


def measure(folder: Path, rounds: int, threads: int) -> dict[str, list[list[float]]]:
    """Of each side (seconds, seconds of cores, tokens) of each round; the first picture of each warms it up."""
    command = [sys.executable, __file__, "--threads", str(threads), "--folder", str(folder), "--side"]
    sides = {side: subprocess.Popen([*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for side in SIDES}
    taken: dict[str, list[list[float]]] = {side: [] for side in SIDES}
    try:
        for process in sides.values():
            _line(process, "ready")
        for number in range(rounds + 1):
            for side, process in sides.items():
                assert process.stdin is not None
                print(number, file=process.stdin, flush=True)
                taken[side].append(json.loads(_line(process)))
    finally:
        for process in sides.values():
            process.kill()
            process.wait()
    return {side: times[1:] for side, times in taken.items()}


def _line(process: subprocess.Popen[str], wanted: str = "") -> str:
    """The next line of a side that is `wanted`, or JSON: libraries print lines of their own."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == wanted if wanted else line.startswith("["):
            return line
    raise SystemExit("a side ended before its answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest-edge", type=int, default=1024)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        run_side(args.side, args.folder, args.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), args.longest_edge, args.layers)
        taken = measure(Path(folder), args.rounds, args.threads)
    for side, times in taken.items():
        clock, cores, tokens = (median(column) for column in zip(*times, strict=True))
        print(f"{side:14} {clock:8.2f} s, {cores:8.2f} s of cores, {tokens:.0f} tokens")
    ratios = [median(times[at] for times in taken["transformers"]) / median(times[at] for times in taken["octavo"]) for at in (0, 1)]
    print(f"Octavo: {ratios[0]:.2f} times as fast, {ratios[1]:.2f} times by the time of cores")


if __name__ == "__main__":
    main()

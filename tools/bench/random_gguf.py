#!/usr/bin/env python3
"""A Llama of any shape with random Q4_1 weights, as a GGUF file that other engines read too: speed at sizes that no package ships.

    python tools/bench/random_gguf.py OUT.gguf [--hidden 2048 --ffn 8192 --layers 16 --heads 32 --kv-heads 8] [--tokenizer FILE.gguf]

Tokenizer and vocabulary come from --tokenizer (default: Octavo's default model). The default shape is that of Llama 3.2 1B. Needs gguf.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from octavo.fetch.default_model import default_model_path

__all__ = ["write_model"]

_BLOCK = np.dtype([("d", "<f2"), ("m", "<f2"), ("qs", "u1", (16,))])  # Q4_1: 32 values


def random_matrix(rows: int, cols: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Q4_1 blocks [rows, bytes] of values with mean 0 and about the deviation 1 / sqrt(cols)."""
    blocks = np.empty((rows, cols // 32), _BLOCK)
    scale = 0.22 / np.sqrt(cols)
    blocks["d"], blocks["m"] = scale, -7.5 * scale
    blocks["qs"] = rng.integers(0, 256, blocks["qs"].shape, np.uint8)
    return blocks.view(np.uint8).reshape(rows, -1)


def write_model(out: Path, tokenizer: Path, *, hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, context: int = 0) -> None:
    """Write the file. Head size is hidden / heads; the output head is the embedding table; `context` 0: the tokenizer's model's."""
    reader, writer, rng = gguf.GGUFReader(tokenizer), gguf.GGUFWriter(out, "llama"), np.random.default_rng(1)
    sizes = {"embedding_length": hidden, "feed_forward_length": ffn, "block_count": layers, "attention.head_count": heads}
    sizes |= {"context_length": context} if context else {}
    sizes |= {"attention.head_count_kv": kv_heads, "rope.dimension_count": hidden // heads}
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = sizes.get(name.removeprefix("llama."), field.contents())
        element = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], element)
    vocab = next(tensor.shape[1] for tensor in reader.tensors if tensor.name == "token_embd.weight")
    head_dim = hidden // heads
    matrices = {"attn_q": (hidden, hidden), "attn_k": (kv_heads * head_dim, hidden), "attn_v": (kv_heads * head_dim, hidden)}
    matrices |= {"attn_output": (hidden, hidden), "ffn_gate": (ffn, hidden), "ffn_up": (ffn, hidden), "ffn_down": (hidden, ffn)}
    shapes = {"token_embd": (int(vocab), hidden)}
    shapes |= {f"blk.{layer}.{name}": shape for layer in range(layers) for name, shape in matrices.items()}
    for name, (rows, cols) in shapes.items():
        writer.add_tensor(f"{name}.weight", random_matrix(rows, cols, rng), raw_dtype=gguf.GGMLQuantizationType.Q4_1)
    norms = [f"blk.{layer}.{name}" for layer in range(layers) for name in ("attn_norm", "ffn_norm")]
    for name in [*norms, "output_norm"]:
        writer.add_tensor(f"{name}.weight", np.ones(hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tokenizer", type=Path)
    for name, size in {"hidden": 2048, "ffn": 8192, "layers": 16, "heads": 32, "kv-heads": 8}.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    args = vars(parser.parse_args())
    write_model(args.pop("out"), args.pop("tokenizer") or default_model_path(print), **args)


if __name__ == "__main__":
    main()

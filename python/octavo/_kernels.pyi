"""The CPU data plane: packed weights, the ops, the step program, the sampler. Releases the GIL while it computes.

Arrays are C-contiguous numpy arrays (or anything with `__array_interface__` and the same memory) unless a docstring says otherwise.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo._runtime import Batch

# ---- machine --------------------------------------------------------------------------------------------------------------------

def version() -> str: ...
def available_isas() -> list[str]:
    """Kernel variants built in that this processor runs, best first: of "avx512", "avx2", "neon_dot", "neon", "vsx", "portable"."""

def active_isa() -> str:
    """The variant in use: the best available, or that of the environment variable OCTAVO_ISA."""

def set_isa(name: str) -> None:
    """Use another variant (tests, benchmarks). Weights packed before keep their layout and must be packed again."""

def bind_memory_to_node(node: int) -> None:
    """Take memory that this thread, and threads it starts later, touch first from one NUMA node and no other (set_mempolicy(2)).

    Raises ValueError with the system's reason: no such node, no NUMA in this kernel, a container that forbids it.
    """

def has_cuda() -> bool:
    """Whether CUDA kernels are built in."""

class ThreadPool:
    """Compute threads: the caller and num_threads - 1 workers that spin briefly, then sleep."""

    def __init__(self, num_threads: int, affinity: Sequence[Sequence[int]] = ()) -> None:
        """affinity: the cores of each thread, the caller's first; empty: wherever the system puts them.

        Raises ValueError for another number of threads, or a core that this process may not use.
        """
    @property
    def num_threads(self) -> int: ...
    def place_caller(self) -> None:
        """Put the calling thread, the one that will use the pool, on the caller's cores. Does nothing without an affinity."""

# ---- weights --------------------------------------------------------------------------------------------------------------------

def formats() -> list[str]:
    """Storage formats understood: F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K U4_G32 U4_G64 U4_G128 U8_G32 U8_G128."""

def format_bytes(format: str, num_elements: int) -> int:
    """Bytes of num_elements (a multiple of the format's block) elements. Raises ValueError for an unknown format."""

def dequantize(data: NDArray[np.uint8], format: str, num_elements: int) -> NDArray[np.float32]:
    """Raw blocks to float32 [num_elements], the value each element stands for, exactly as ggml defines it."""

class LinearWeight:
    """A weight matrix [N, K] repacked for the active ISA. Parts stack along N and may differ in format (fused q, k, v)."""

    def __init__(
        self, parts: Sequence[tuple[NDArray[np.uint8], str, int]], num_cols: int, pool: ThreadPool, arithmetic: str = "exact"
    ) -> None:
        """parts: (raw row-major bytes, format, rows) each; num_cols: K.

        arithmetic: "exact" (float32 on the dequantised values) or "int8" (activations in 8 bits where weights are codes).
        """
    @property
    def num_rows(self) -> int: ...
    @property
    def num_cols(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...

class EmbeddingWeight:
    """A table [V, E], left in its raw format (borrowed memory, kept alive); rows are dequantised as they are read."""

    def __init__(self, data: NDArray[np.uint8], format: str, num_rows: int, num_cols: int) -> None: ...

# ---- single ops (tests and benchmarks; serving goes through Program) ------------------------------------------------------------

def embedding(token_ids: NDArray[np.int32], weight: EmbeddingWeight, scale: float, pool: ThreadPool) -> NDArray[np.float32]: ...
def linear(x: NDArray[np.float32], weight: LinearWeight, bias: NDArray[np.float32] | None, pool: ThreadPool) -> NDArray[np.float32]: ...
def lm_head(x: NDArray[np.float32], weight: LinearWeight, pool: ThreadPool) -> NDArray[np.float32]: ...
def rms_norm(x: NDArray[np.float32], weight: NDArray[np.float32], eps: float, pool: ThreadPool) -> NDArray[np.float32]: ...
def silu_and_mul(x: NDArray[np.float32], pool: ThreadPool) -> NDArray[np.float32]: ...
def gelu_tanh_and_mul(x: NDArray[np.float32], pool: ThreadPool) -> NDArray[np.float32]: ...
def sigmoid_gate(x: NDArray[np.float32], gate: NDArray[np.float32], pool: ThreadPool) -> NDArray[np.float32]:
    """x / (1 + e^-gate), gate [T, 1]."""

def softcap(x: NDArray[np.float32], cap: float, pool: ThreadPool) -> NDArray[np.float32]: ...
def rotary_embedding(
    x: NDArray[np.float32], positions: NDArray[np.int32], cos_sin: NDArray[np.float32], num_heads: int, head_dim: int, pool: ThreadPool
) -> NDArray[np.float32]:
    """x [T, num_heads * head_dim]; returns a rotated copy. cos_sin [max_model_len, rotary_dim]: cosines, then sines."""

Experts = tuple[tuple[LinearWeight, LinearWeight], ...]
"""(gate_up [2F, E], down [E, F]) of each expert, all of one shape."""

def moe(
    x: NDArray[np.float32],
    router_logits: NDArray[np.float32],
    experts: Experts,
    top_k: int,
    renormalise: bool,
    activation: str,
    pool: ThreadPool,
) -> NDArray[np.float32]:
    """Mixture of experts, cpp/ops/moe/moe.h: x [T, E], router_logits [T, X] -> [T, E]. activation: "silu", "gelu_pytorch_tanh"."""

class KVCache:
    """[num_layers] x [num_blocks] pages in the layout of the CPU attention; memory is zero and untouched until written.

    dtype: fp32, bf16, fp16 or int8 (a float32 scale per token, head, and key or value); values are rounded to it when they are stored.
    """

    def __init__(
        self, num_layers: int, num_blocks: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str = "fp32"
    ) -> None: ...
    @property
    def num_bytes(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @staticmethod
    def bytes_per_block(num_layers: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str = "fp32") -> int: ...

def store_kv(
    k: NDArray[np.float32], v: NDArray[np.float32], cache: KVCache, layer: int, slot_mapping: NDArray[np.int32], pool: ThreadPool
) -> None: ...
def paged_attention(
    q: NDArray[np.float32],
    cache: KVCache,
    layer: int,
    query_indptr: NDArray[np.int32],
    context_lens: NDArray[np.int32],
    block_tables: NDArray[np.int32],
    num_heads: int,
    scale: float,
    window: int | None,
    softcap: float | None,
    pool: ThreadPool,
) -> NDArray[np.float32]: ...

# ---- step program ---------------------------------------------------------------------------------------------------------------

Buffer = int
"""A value of the program: [rows, cols] float32, where rows is T (tokens of the step) or L (its logits rows)."""

class Program:
    """A model's forward pass as a list of kernel calls over buffers with symbolic row counts. Built once, run at any T <= max."""

    def __init__(self, pool: ThreadPool) -> None: ...
    # Each returns the buffer it writes. Weights and arrays are kept alive by the program.
    def embedding(self, weight: EmbeddingWeight, scale: float) -> Buffer: ...
    def linear(self, x: Buffer, weight: LinearWeight, bias: NDArray[np.float32] | None) -> Buffer: ...
    def lm_head(self, x: Buffer, weight: LinearWeight) -> Buffer: ...
    def rms_norm(self, x: Buffer, weight: NDArray[np.float32], eps: float) -> Buffer:
        """Normalises each group of len(weight) columns: the whole row, or each head of it."""
    def add(self, x: Buffer, y: Buffer) -> Buffer: ...
    def add_rms_norm(self, x: Buffer, residual: Buffer, weight: NDArray[np.float32], eps: float) -> tuple[Buffer, Buffer]:
        """(rms_norm(x + residual), x + residual)"""
    def silu_and_mul(self, x: Buffer) -> Buffer: ...
    def gelu_tanh_and_mul(self, x: Buffer) -> Buffer: ...
    def sigmoid_gate(self, x: Buffer, gate: Buffer) -> Buffer: ...
    def moe(self, x: Buffer, router_logits: Buffer, experts: Experts, top_k: int, renormalise: bool, activation: str) -> Buffer: ...
    def columns(self, x: Buffer, start: int, count: int) -> Buffer:
        """A view, not a copy."""
    def rotary_embedding(self, x: Buffer, cos_sin: NDArray[np.float32], head_dim: int) -> Buffer: ...
    def store_kv(self, k: Buffer, v: Buffer, layer: int) -> None: ...
    def paged_attention(self, q: Buffer, layer: int, num_heads: int, scale: float, window: int | None, softcap: float | None) -> Buffer: ...
    def select_logits_rows(self, x: Buffer) -> Buffer:
        """The rows of logits_indices: [T, cols] -> [L, cols]."""
    def softcap(self, x: Buffer, cap: float) -> Buffer: ...
    def seal(self, output: Buffer, cache: KVCache, max_num_tokens: int, max_num_logits: int) -> None:
        """End of building: buffers whose lives do not overlap share memory. No allocation happens after this."""
    @property
    def num_bytes(self) -> int:
        """Of all buffers, once sealed."""
    def num_cols(self, x: Buffer) -> int: ...
    def describe(self) -> str:
        """One line per call, for a person."""
    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The logits [L, V] of a prepared batch: a view, valid until the next run."""
    def profile(self) -> dict[str, tuple[int, float]]:
        """op -> (calls, seconds) since the last call of profile(); measured only while OCTAVO_PROFILE=1 is in the environment."""

# ---- sampling -------------------------------------------------------------------------------------------------------------------

class Sampler:
    """Logits to tokens, with each row's penalties, masks and generator state. Independent of the batch: same row, same token."""

    def __init__(self, max_num_seqs: int, vocab_size: int, pool: ThreadPool) -> None: ...
    def start_row(self, row: int, token_ids: Sequence[int], num_prompt_tokens: int, sampling: Any) -> None:
        """sampling: an `octavo.step.RowSampling`, read attribute by attribute."""
    def end_row(self, row: int) -> None: ...
    def sample(self, logits: NDArray[np.float32], rows: Sequence[int]) -> tuple[list[int], list[tuple | None]]:
        """logits [len(rows), V], not modified; row i is that of rows[i]. Draws one token per row and remembers it.

        Returns (token_ids, reports); a report is (logprob, rank, top_ids, top_logprobs), None where not asked for. A row with a logit
        that is NaN or with no finite logit gets token id None and remembers nothing.
        """
    def score(self, logits: NDArray[np.float32], token_ids: Sequence[int], num_top: int) -> list[tuple | None]:
        """Reports of given tokens: logits [len(token_ids), V] (no penalties). None for a row that is not finite."""

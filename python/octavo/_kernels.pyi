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

class Weight:
    """A weight as a device holds it, recorded into a graph by handle."""

    @property
    def kind(self) -> str:
        """linear, embedding, array or experts"""
    @property
    def shape(self) -> tuple[int, ...]: ...

class LinearWeight(Weight):
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

class EmbeddingWeight(Weight):
    """A table [V, E], left in its raw format (borrowed memory, kept alive); rows are dequantised as they are read."""

    def __init__(self, data: NDArray[np.uint8], format: str, num_rows: int, num_cols: int) -> None: ...

class ArrayWeight(Weight):
    """A copy of a float32 array of one or two dimensions."""

    def __init__(self, values: NDArray[np.float32]) -> None: ...

class ExpertsWeight(Weight):
    """The experts of a mixture: (gate_up [2F, E], down [E, F]) of each, all of one shape."""

    def __init__(self, experts: Sequence[tuple[LinearWeight, LinearWeight]]) -> None: ...

# ---- the graph and its program on processors ------------------------------------------------------------------------------------

class KVCache:
    """[num_layers] x [num_blocks] pages in the layout of the CPU attention; memory is zero and untouched until written.

    dtype: fp32, bf16, fp16 or int8 (a float32 scale per token, head, and key or value); values are rounded to it when they are stored.
    latent_dim: above zero, pages hold one vector of head_dim elements per token, whose first latent_dim are its value too.
    """

    def __init__(
        self, num_layers: int, num_blocks: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str = "fp32", latent_dim: int = 0
    ) -> None: ...
    def copy_block(self, source: int, destination: int) -> None:
        """Copy all that a block holds."""
    @property
    def num_bytes(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @staticmethod
    def bytes_per_block(
        num_layers: int, block_size: int, num_kv_heads: int, head_dim: int, dtype: str = "fp32", latent_dim: int = 0
    ) -> int: ...

Value = int
"""A matrix [rows, cols] of a graph, whose rows are tokens of the step or logits rows."""

class CacheGroup:
    """Layers whose caches have one spec, and so one block table."""

    @property
    def kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def window(self) -> int | None: ...
    @property
    def latent_dim(self) -> int: ...
    @property
    def num_layers(self) -> int: ...

class Graph:
    """A forward pass as data, cpp/program/graph.h: recorded once, lowered by each device."""

    def __init__(self) -> None: ...
    def record(
        self,
        name: str,
        reads: Sequence[Value] = (),
        weights: Sequence[Weight | None] = (),
        *,
        cache: int | None = None,
        **attributes: bool | int | float | str | None,
    ) -> Any:
        """Append an op (cpp/ops/op_table.cc): the value that it writes, a tuple of several, None without one.

        Raises ValueError, naming the op and the operand, when something is missing or does not fit.
        """
    def columns(self, x: Value, start: int, count: int) -> Value:
        """A view, not a copy."""
    def paged_kv(self, kv_heads: int, head_dim: int, window: int | None) -> int:
        """The cache of one more layer, for `record`."""
    def latent_kv(self, latent_dim: int, rope_dim: int) -> int:
        """The same, of one vector per token."""
    def state(self, num_elements: int) -> int:
        """Floats that one more layer keeps for each running sequence; an op names them by its attribute "state"."""
    @property
    def states(self) -> list[int]:
        """Elements of each."""
    def int_input(self, name: str, rows: str = "tokens", cols: int = 1) -> Value:
        """int32 values [rows, cols] that `CpuProgram.write_input` fills before a step."""
    def float_input(self, name: str, rows: str, cols: int) -> Value:
        """The same of floats."""
    def output(self, name: str, x: Value) -> None:
        """Name a value that is read after a step."""
    @property
    def inputs(self) -> list[str]: ...
    @property
    def cache_groups(self) -> list[CacheGroup]: ...
    def num_cols(self, x: Value) -> int: ...
    def describe(self) -> str:
        """One line per op, for a person."""

class CpuProgram:
    """A graph lowered to calls on a thread pool: built once, run at any size up to the limits, allocating nothing."""

    def __init__(
        self, graph: Graph, pool: ThreadPool, caches: Sequence[KVCache], row_limits: dict[str, int], num_state_rows: int = 0
    ) -> None:
        """caches: one for each of the graph's groups. row_limits: the most "tokens", "logits" and "sequences" of a step. num_state_rows:
        sequences that may run side by side, of a graph with states."""
    @property
    def num_bytes(self) -> int:
        """Of all values: those that are not in use together share memory."""
    def run(self, batch: Batch, output: str = "logits") -> NDArray[np.float32]:
        """Compute a prepared batch; one of the outputs, as a view that is valid until the next run."""
    def output(self, name: str) -> NDArray[np.float32]:
        """A further output of the step that ran last."""
    def write_input(self, name: str, values: NDArray[Any], first_row: int = 0) -> None:
        """Fill rows of an input, int32 or float32 [rows, cols], for the next step. Nothing of it is kept behind that step."""
    def run_tower(
        self, positions: NDArray[np.int32], tile_indptr: NDArray[np.int32], num_media: int, window_indptr: NDArray[np.int32] = ...
    ) -> NDArray[np.float32]:
        """Compute a tower's output "media" [num_media, E] of the patches written; valid until the next run.

        positions [N]: of the patches. tile_indptr: offsets of the tiles, the first 0, the last N; window_indptr: those of windows, of
        towers that have some.
        """
    def write_cross(self, state: int, row: int, keys_values: NDArray[np.float32], num_heads: int) -> None:
        """Write what one layer's cross attention reads of a sequence's input into its row of a state.

        keys_values [M, 2 * H * D]: keys, then values.
        """
    def copy_states(self, row: int, source_row: int) -> None:
        """Give a row of every state what another row holds."""
    def profile(self) -> dict[str, tuple[int, float]]:
        """op -> (calls, seconds) since the last call of profile(); measured only while OCTAVO_PROFILE=1 is in the environment."""

def run_op(
    name: str,
    reads: Sequence[NDArray[np.float32] | NDArray[np.int32]],
    weights: Sequence[Weight | None],
    pool: ThreadPool,
    cache: KVCache | None = None,
    layer: int = 0,
    window: int | None = None,
    step: dict[str, NDArray[Any]] = ...,
    **attributes: bool | int | float | str | None,
) -> list[NDArray[Any]]:
    """Compute one op by itself (tests): a graph of it, run once. reads [T, cols] each; step: arrays of `Batch` by name, `rows` among
    them, and `states` [rows, elements], which is read and written."""

# ---- sampling -------------------------------------------------------------------------------------------------------------------

class Sampler:
    """Logits to tokens, with each row's penalties, masks and generator state. Independent of the batch: same row, same token."""

    def __init__(self, max_num_seqs: int, vocab_size: int, pool: ThreadPool) -> None: ...
    def start_row(self, row: int, token_ids: Sequence[int], num_prompt_tokens: int, sampling: Any) -> None:
        """sampling: an `octavo.step.RowSampling`, read attribute by attribute."""
    def end_row(self, row: int) -> None: ...
    def sample(
        self,
        logits: NDArray[np.float32],
        rows: Sequence[int],
        logits_rows: Sequence[int],
        masks: NDArray[np.int32] | None = None,
    ) -> tuple[list[int | None], list[tuple | None]]:
        """Draws a token for each of `rows`, that of rows[i] from row logits_rows[i] of logits [L, V], and remembers it.

        masks [len(rows), ceil(V / 32)]: bit v % 32 of word v / 32 of row i is set where rows[i] may draw token v.

        Returns (token_ids, reports); a report is (logprob, rank, top_ids, top_logprobs), None where not asked for. A row with a logit
        that is NaN or with no finite logit gets token id None and remembers nothing.
        """
    def append(self, row: int, token_ids: Sequence[int]) -> None:
        """Remembers tokens that the row has without drawing them."""
    def score(self, logits: NDArray[np.float32], token_ids: Sequence[int], num_top: int) -> list[tuple | None]:
        """Reports of given tokens: logits [len(token_ids), V] (no penalties). None for a row that is not finite."""

class CudaLibrary:
    """liboctavo_cuda.so, opened at run time. Raises RuntimeError where it does not load, ValueError for another version of Octavo."""

    def __init__(self, path: str) -> None: ...
    def info(self) -> dict[str, Any]:
        """version, architectures, runtime_version and driver_version (13000 is CUDA 13.0; 0: no driver), flashinfer."""
    def devices(self) -> list[tuple[str, int, int, int]]:
        """(name, compute capability x 10, multiprocessors, bytes) of each GPU; empty where there is none or no driver."""
    def open(
        self, index: int = 0, activation: str = "bf16", blas_paths: Sequence[str] = (), deterministic: bool = False, dry: bool = False
    ) -> CudaDevice:
        """activation: bf16, fp16 or fp32. dry: no GPU; programs describe themselves and cannot run."""

class CudaDevice:
    """A GPU, its stream, and weights on it. MemoryError when its memory is used up."""

    @property
    def name(self) -> str: ...
    @property
    def capability(self) -> int: ...
    @property
    def products(self) -> str:
        """Which library multiplies."""
    measured: str
    """How products are computed, measured on this kind of GPU: text that a later start gives back."""
    def memory(self) -> tuple[int, int, int]:
        """Bytes: free as the driver sees it, in all, of weights."""
    def linear(self, parts: Sequence[tuple[NDArray[np.uint8], str, int]], cols: int) -> Weight:
        """parts: (raw blocks, format, rows), stacked along rows."""
    def embedding(self, table: tuple[NDArray[np.uint8], str, int], cols: int) -> Weight: ...
    def as_linear(self, table: Weight) -> Weight:
        """An embedding's matrix as that of a tied output head; takes no memory."""
    def array(self, values: NDArray[np.float32]) -> Weight: ...
    def experts(self, experts: Sequence[tuple[Weight, Weight]]) -> Weight:
        """(gate_up, down) of each expert, placed by `linear`."""
    def random_linear(self, rows: int, cols: int, seed: int) -> Weight: ...
    def random_embedding(self, rows: int, cols: int, seed: int) -> Weight: ...
    def lower(
        self,
        graph: Graph,
        max_num_seqs: int,
        max_num_tokens: int,
        max_num_logits: int,
        max_model_len: int,
        attention: str = "auto",
        graphs: bool = True,
        kv: str = "auto",
    ) -> CudaProgram:
        """attention: auto, flashinfer or paged. graphs: decode steps are captured and replayed. kv: of the KV cache, auto or fp8."""

class CudaProgram:
    """A graph lowered to launches. The batch of a step is an `octavo._runtime.Batch`, prepared."""

    @property
    def num_bytes(self) -> int:
        """On the device: activations, step arrays, workspaces."""
    @property
    def bytes_per_block(self) -> int: ...
    @property
    def can_sample(self) -> bool: ...
    def make_caches(self, num_blocks: int) -> None: ...
    def copy_block(self, source: int, destination: int) -> None:
        """The pages of every layer; in the order of the steps."""
    def describe(self) -> str:
        """One line per launch."""
    def run(self, batch: Any) -> NDArray[np.float32]:
        """The logits [L, V] of a step, valid until the next one."""
    def start_row(self, row: int, token_ids: Sequence[int], num_prompt_tokens: int, sampling: Any) -> None: ...
    def end_row(self, row: int) -> None: ...
    def append_tokens(self, row: int, token_ids: Sequence[int]) -> None:
        """Tokens that the row has without having drawn them; no step that draws for it may be under way."""
    def launch(self, batch: Any, rows: Sequence[int], logits_rows: Sequence[int], host_logits: bool) -> None:
        """Begin a step that draws a token for each of `rows`, that of rows[i] from row logits_rows[i] of its logits.

        Two steps may be under way.
        """
    def launch_forward(self, batch: Any, host_logits: bool) -> None:
        """The first part of `launch`: all but the draws."""
    def masks(self, count: int) -> NDArray[np.int32]:
        """Pinned memory [count, ceil(V / 32)] of the step whose draws are not launched: bit v % 32 of word v / 32 set where v may come."""
    def launch_draws(self, rows: Sequence[int], logits_rows: Sequence[int], masked: Sequence[int]) -> None:
        """The second part of `launch`; draw masked[i] keeps to mask i."""
    def collect(self) -> tuple[list[int | None], list[tuple | None], NDArray[np.float32] | None, float]:
        """Of the oldest step under way: token ids, reports, the logits where they were asked for, milliseconds on the device."""
    def finished(self) -> bool:
        """Whether the oldest launched step has ended."""

    def prepare(self, num_tokens: int) -> bool:
        """Choose algorithms and capture the graph of steps of that many tokens; False where nothing is left to do."""

"""Executor for NVIDIA GPUs: the forward pass recorded once, lowered by the CUDA library, two steps under way. Needs no torch.

launch: rows, batch arrays -> pinned slot -> device -> graph or launches -> device sampler     collect: wait, tokens
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import CudaDevice, Graph, Sampler, ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import ConfigError
from octavo.log import get_logger
from octavo.ops.record import RecordOps
from octavo.runner.cuda_placement import CudaPlacement
from octavo.runner.executor import StepShape, build_model
from octavo.step import Command, Profile, RowFork, RowSampling, RowStart, StepPlan, StepResult
from octavo.types import TokenLogprobs

__all__ = ["CudaExecutor", "CudaSettings"]

log = get_logger(__name__)

_NO_TOKEN = "the model's logits are not finite, or every token is barred by the request's constraints"
_RESERVE_BYTES = 768 << 20  # graphs, kernels that load later, what the driver rounds up
_CACHE_FOLDER = Path(os.environ.get("OCTAVO_CACHE") or Path.home() / ".cache" / "octavo")


@dataclass(frozen=True, slots=True)
class CudaSettings:
    """How a GPU is used.

    Attributes:
        dtype: of weights, activations and KV cache: bf16, fp16 or fp32.
        memory_utilization: share of the GPU's memory that this process may take, KV cache included.
        kv_cache_bytes: bytes of the KV cache; None: what is left.
        attention: auto, flashinfer or paged.
        graphs: whether decode steps are captured and replayed.
    """

    dtype: str = "bf16"
    memory_utilization: float = 0.9
    kv_cache_bytes: int | None = None
    attention: str = "auto"
    graphs: bool = True


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step under way: what `collect` needs to say what it made."""

    plan: StepPlan
    rows: list[int]
    errors: dict[int, str]
    firsts: dict[int, int]  # position of each row's first logits, where prompts are scored


class CudaExecutor:
    """Implements `Executor`.

    Attributes:
        shape: that of the steps, with the number of KV blocks that fit.
    """

    depth = 2

    def __init__(
        self,
        device: CudaDevice,
        config: ModelConfig,
        checkpoint: Checkpoint,
        shape: StepShape,
        pool: ThreadPool,
        settings: CudaSettings,
    ) -> None:
        started = time.perf_counter()
        self._settings = settings
        self._device = device
        self._measured = _CACHE_FOLDER / f"products-{self._device.name.replace(' ', '-')}.txt"
        if self._measured.is_file():
            self._device.measured = self._measured.read_text()
        graph = Graph()
        model = build_model(config, checkpoint, CudaPlacement(self._device), RecordOps(graph), shape)
        graph.output("logits", model.outputs(None)["logits"])
        loaded = time.perf_counter()
        self._program = self._device.lower(
            graph, shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len, settings.attention, settings.graphs
        )
        self.shape = replace(shape, num_blocks=self._num_blocks(shape), kv_cache_dtype=settings.dtype)
        self._program.make_caches(self.shape.num_blocks)
        log.info(
            "%s: %s, products by %s; %.2f GB of weights in %.2f s, KV cache of %d tokens in %.2f s",
            device.name, settings.dtype, device.products, device.memory()[2] / 1e9, loaded - started,
            self.shape.num_blocks * shape.block_size, time.perf_counter() - loaded,
        )  # fmt: skip
        self._batch = Batch(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len, shape.block_size)
        self._scorer = Sampler(1, config.vocab_size, pool)
        self._vocab_size = config.vocab_size
        self._prompts: dict[int, tuple[list[int], int]] = {}  # rows that want log-probabilities of their prompt, and how many
        self._failed: dict[int, str] = {}
        self._launched: deque[_Launched | StepResult] = deque()

    def bind_thread(self) -> None:
        """See `Executor.bind_thread`. Any thread may drive the device."""

    def launch(self, plan: StepPlan) -> None:
        """See `Executor.launch`."""
        self._apply(plan)
        if not plan.rows:
            self._launched.append(StepResult(plan.step_id, [], [], []))
            return
        if any(plan.num_drafts):
            plan = _without_drafts(plan)
        self._batch.prepare(plan.rows, plan.num_scheduled_tokens, plan.new_block_ids, plan.num_logits)
        errors = {row: self._failed[row] for row in plan.rows if row in self._failed} if self._failed else {}
        rows, logits_rows = _drawing(plan, errors)
        scored = bool(self._prompts) and any(row in self._prompts and count for row, count in zip(plan.rows, plan.num_logits, strict=True))
        self._program.launch(self._batch, rows, list(logits_rows), scored)
        self._batch.expect_tokens([row for row, draws in zip(plan.rows, plan.draws, strict=True) if draws])
        firsts = (
            {row: self._batch.num_computed_tokens(row) - n for row, n in zip(plan.rows, plan.num_logits, strict=True)} if scored else {}
        )
        self._launched.append(_Launched(plan, rows, errors, firsts))

    def collect(self) -> StepResult:
        """See `Executor.collect`."""
        launched = self._launched.popleft()
        if isinstance(launched, StepResult):
            return launched
        plan = launched.plan
        token_ids, reports, logits, device_ms = self._program.collect()
        errors = dict(launched.errors)
        prompt_logprobs = self._score_prompts(launched, logits, errors) if logits is not None else {}
        drawn = {row: (token, report) for row, token, report in zip(launched.rows, token_ids, reports, strict=True) if token is not None}
        # A row without a token ends, but a step that computes its next one may be under way: some token must stand there.
        drawing = [row for row, draws in zip(plan.rows, plan.draws, strict=True) if draws]
        self._batch.append_tokens(drawing, [drawn[row][0] if row in drawn else 0 for row in drawing])
        errors = {row: _NO_TOKEN for row in drawing if row not in drawn} | errors
        return StepResult(
            plan.step_id,
            rows=list(drawn),
            token_ids=[[token] for token, _ in drawn.values()],
            logprobs=[None if report is None else [_logprobs(token, report)] for token, report in drawn.values()],
            prompt_logprobs=prompt_logprobs,
            errors=errors,
            run_ms=device_ms,
        )

    def call(self, command: Command) -> Any:
        """See `Executor.call`. Launches are not timed one by one, so a profile is empty."""
        assert isinstance(command, Profile)
        return {}

    def close(self) -> None:
        """See `Executor.close`. Keeps what was measured of this GPU for the next start."""
        if text := self._device.measured:
            try:
                _CACHE_FOLDER.mkdir(parents=True, exist_ok=True)
                self._measured.write_text(text)
            except OSError as error:
                log.warning("%s cannot be written, so products are measured again at the next start: %s", self._measured, error)

    def execute(self, batch: Batch) -> NDArray[np.float32]:
        """The logits [L, V] of a prepared step, on the host; see `ForwardPass.execute`."""
        return self._program.run(batch)

    def capture(self, num_tokens: int) -> bool:
        """Capture the graph of decode steps of that many tokens now; whether one was made."""
        return self._program.capture(num_tokens)

    # ---- memory ---------------------------------------------------------------------------------------------------------------

    def _num_blocks(self, shape: StepShape) -> int:
        """KV blocks that fit beside everything else, as the driver counts it; no more than the sequences can fill."""
        free, total, _ = self._device.memory()
        budget = self._settings.kv_cache_bytes
        if budget is None:
            budget = min(free, free - int(total * (1 - self._settings.memory_utilization))) - _RESERVE_BYTES
        per_block = self._program.bytes_per_block
        num_blocks = min(budget // per_block, shape.num_blocks)
        if num_blocks < 1 or budget > free:
            raise ConfigError(
                f"the GPU has {free / 1e9:.1f} of {total / 1e9:.1f} GB free beside weights and activations, and the KV "
                f"cache gets {max(0, budget) / 1e9:.1f} GB; raise --gpu-memory-utilization, lower --max-num-batched-tokens, or see with "
                "nvidia-smi which process holds the rest"
            )
        return num_blocks

    # ---- rows -----------------------------------------------------------------------------------------------------------------

    def _apply(self, plan: StepPlan) -> None:
        for row in plan.ended:
            self._batch.end_row(row)
            if self._failed.pop(row, None) is None:
                self._program.end_row(row)
            self._prompts.pop(row, None)
        for start in plan.started:
            self._start(start)
        for fork in plan.forked:
            self._fork(fork)
        for _, source, destination in plan.copied_blocks:
            self._program.copy_block(source, destination)

    def _start(self, start: RowStart) -> None:
        token_ids = start.token_ids
        if not self._start_sampling(start.row, token_ids, start.num_prompt_tokens, start.sampling):
            token_ids = [token_id if 0 <= token_id < self._vocab_size else 0 for token_id in token_ids]
        self._batch.start_row(start.row, token_ids, start.num_prompt_tokens, start.num_computed_tokens, start.first_blocks)
        if start.sampling.num_prompt_logprobs is not None:
            self._prompts[start.row] = (token_ids[: start.num_prompt_tokens], start.sampling.num_prompt_logprobs)

    def _fork(self, fork: RowFork) -> None:
        if fork.row == fork.source_row and self._failed.pop(fork.row, None) is None:
            self._program.end_row(fork.row)
        self._batch.fork_row(fork.row, fork.source_row, fork.num_tokens, fork.token_id)
        self._start_sampling(fork.row, self._batch.row_tokens(fork.row), self._batch.num_prompt_tokens(fork.row), fork.sampling)

    def _start_sampling(self, row: int, token_ids: list[int], num_prompt_tokens: int, sampling: RowSampling) -> bool:
        """Whether the device can draw for the row."""
        if sampling.grammar is not None:
            self._failed[row] = "structured output is not served on a GPU yet; start the server with --device cpu"
            return False
        try:
            self._program.start_row(row, token_ids, num_prompt_tokens, sampling)
        except Exception as error:
            log.warning("row %d cannot start: %s", row, error)
            self._failed[row] = f"the request cannot be run: {error}"
            return False
        return True

    def _score_prompts(
        self, launched: _Launched, logits: NDArray[np.float32], errors: dict[int, str]
    ) -> dict[int, list[TokenLogprobs | None]]:
        """Entries for the prompt positions whose logits this step computed; those at position p describe token p + 1."""
        plan = launched.plan
        scored: dict[int, list[TokenLogprobs | None]] = {}
        for row, end, count in zip(plan.rows, accumulate(plan.num_logits), plan.num_logits, strict=True):
            if row not in self._prompts or count == 0:
                continue
            prompt, num_top = self._prompts[row]
            first = launched.firsts[row]
            targets = prompt[first + 1 : first + 1 + count]
            try:
                reports = self._scorer.score(logits[end - count : end - count + len(targets)], targets, num_top)
            except Exception as error:
                errors[row] = f"the prompt's log-probabilities cannot be computed: {error}"
                continue
            if targets:
                scored[row] = [None if report is None else _logprobs(token, report) for token, report in zip(targets, reports, strict=True)]
        return scored


def _drawing(plan: StepPlan, errors: dict[int, str]) -> tuple[list[int], list[int]]:
    """The rows that draw, and the row of the step's logits from which each does."""
    if False not in plan.draws and not errors and max(plan.num_logits) == 1:  # a decode step: nothing to pick out
        return plan.rows, list(range(len(plan.rows)))
    entries = zip(plan.rows, accumulate(plan.num_logits), plan.draws, strict=True)
    drawing = [(row, end - 1) for row, end, draws in entries if draws and row not in errors]
    return [row for row, _ in drawing], [logits_row for _, logits_row in drawing]


def _without_drafts(plan: StepPlan) -> StepPlan:
    """The same plan where nobody proposes drafts."""
    num_tokens = [num_tokens - num_drafts for num_tokens, num_drafts in zip(plan.num_scheduled_tokens, plan.num_drafts, strict=True)]
    num_logits = [num_logits - num_drafts for num_logits, num_drafts in zip(plan.num_logits, plan.num_drafts, strict=True)]
    return replace(plan, num_scheduled_tokens=num_tokens, num_logits=num_logits, num_drafts=[0] * len(plan.rows))


def _logprobs(token_id: int, report: tuple) -> TokenLogprobs:
    logprob, rank, top_ids, top_logprobs = report
    return TokenLogprobs(token_id, logprob, rank, tuple(zip(top_ids, top_logprobs, strict=True)))

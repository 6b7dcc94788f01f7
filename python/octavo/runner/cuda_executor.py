"""Executor for NVIDIA GPUs: the forward pass recorded once, lowered by the CUDA library, two steps under way. Needs no torch.

launch: rows, batch arrays -> pinned slot -> device -> graph or launches -> device sampler     collect: wait, tokens
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
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
from octavo.runner.draws import NO_TOKEN, drawing, reports, token_logprobs, with_drafts
from octavo.runner.executor import StepShape, build_model
from octavo.step import Command, DeviceLostError, Profile, RowFork, RowSampling, RowStart, StepPlan, StepResult
from octavo.structured import GrammarCompiler
from octavo.structured.matchers import Matchers
from octavo.types import TokenLogprobs

__all__ = ["CudaExecutor", "CudaSettings"]

log = get_logger(__name__)

_RESERVE_BYTES = 768 << 20  # graphs, kernels that load later, what the driver rounds up
_MOST_REPORTED = 64  # alternatives of a token that the device reports; more are scored on the processor
_MASK_THREADS = 4  # that fill masks beside the forward pass
_CACHE_FOLDER = Path(os.environ.get("OCTAVO_CACHE") or Path.home() / ".cache" / "octavo")


@dataclass(frozen=True, slots=True)
class CudaSettings:
    """How a GPU is used.

    Attributes:
        dtype: of weights and activations: bf16, fp16 or fp32.
        kv_cache_dtype: of the KV cache: auto, which is `dtype`, or fp8 (E4M3; beside bf16 and fp16).
        memory_utilization: share of the GPU's memory that this process may take, KV cache included.
        kv_cache_bytes: bytes of the KV cache; None: what is left.
        attention: auto, flashinfer or paged.
        graphs: whether decode steps are captured and replayed.
    """

    dtype: str = "bf16"
    kv_cache_dtype: str = "auto"
    memory_utilization: float = 0.9
    kv_cache_bytes: int | None = None
    attention: str = "auto"
    graphs: bool = True


@dataclass(frozen=True, slots=True)
class _Launched:
    """A step under way: what `collect` needs to say what it made."""

    plan: StepPlan
    rows: list[int]
    logits_rows: list[int]
    errors: dict[int, str]
    forced: dict[int, list[int]]  # tokens that a row's grammar has added before what it draws
    firsts: dict[int, int]  # position of each row's first logits, where prompts are scored
    wide: dict[int, int]  # rows that report more alternatives than the device does, and how many
    ended: set[int] = field(default_factory=set)  # rows that a later plan has ended or given to another sequence


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
        grammars: GrammarCompiler | None = None,
    ) -> None:
        """
        Args:
            grammars: for rows whose text follows one; None: such a row is an error of its request.
        """
        started = time.perf_counter()
        self._settings = settings
        self._kv_cache_dtype = settings.dtype if settings.kv_cache_dtype == "auto" else settings.kv_cache_dtype
        self._device = device
        self._measured = _CACHE_FOLDER / f"products-{self._device.name.replace(' ', '-')}.txt"
        if self._measured.is_file():
            self._device.measured = self._measured.read_text()
        graph = Graph()
        model = build_model(config, checkpoint, CudaPlacement(self._device), RecordOps(graph), shape)
        graph.output("logits", model.outputs(None)["logits"])
        loaded = time.perf_counter()
        self._program = self._device.lower(
            graph,
            shape.max_num_seqs,
            shape.max_num_tokens,
            shape.max_num_logits,
            shape.max_model_len,
            settings.attention,
            settings.graphs,
            settings.kv_cache_dtype,
        )
        self.shape = replace(shape, num_blocks=self._num_blocks(shape), kv_cache_dtype=self._kv_cache_dtype)
        self._program.make_caches(self.shape.num_blocks)
        log.info(
            "%s: %s, products by %s; %.2f GB of weights in %.2f s, KV cache of %d tokens in %.2f s",
            device.name, settings.dtype, device.products, device.memory()[2] / 1e9, loaded - started,
            self.shape.num_blocks * shape.block_size, time.perf_counter() - loaded,
        )  # fmt: skip
        self._batch = Batch(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len, shape.block_size)
        self._scorer = Sampler(1, config.vocab_size, pool)
        self._vocab_size = config.vocab_size
        self._matchers = None if grammars is None else Matchers(grammars, _MASK_THREADS)
        self._prompts: dict[int, tuple[list[int], int]] = {}  # rows that want log-probabilities of their prompt, and how many
        self._failed: dict[int, str] = {}
        self._wide: dict[int, int] = {}  # rows that report more alternatives than the device does, and how many
        self._named: dict[int, tuple[int, ...]] = {}  # tokens that a row reports whatever it draws; it is among `_wide` too
        self._unprepared = deque(_step_sizes(shape.max_num_seqs, shape.max_num_tokens))
        self._launched: deque[_Launched | StepResult] = deque()

    def bind_thread(self) -> None:
        """See `Executor.bind_thread`. Any thread may drive the device."""

    def launch(self, plan: StepPlan) -> None:
        """See `Executor.launch`."""
        self._apply(plan)
        if not plan.rows:
            self._launched.append(StepResult(plan.step_id, [], [], []))
            return
        forced: dict[int, list[int]] = {}
        if any(plan.num_drafts):
            forced = self._add_forced(plan)
            plan = with_drafts(plan, forced)
        self._batch.prepare(plan.rows, plan.num_scheduled_tokens, plan.new_block_ids, plan.num_logits)
        errors = {row: self._failed[row] for row in plan.rows if row in self._failed} if self._failed else {}
        rows, logits_rows = drawing(plan, errors)
        wide = {row: self._wide[row] for row in rows if row in self._wide} if self._wide else {}
        scored = bool(self._prompts) and any(row in self._prompts and count for row, count in zip(plan.rows, plan.num_logits, strict=True))
        logits_rows = list(logits_rows)
        masked = [] if self._matchers is None else [index for index, row in enumerate(rows) if row in self._matchers]
        with _faults_of(plan.step_id, self._device.name):
            if masked:
                self._launch_masked(rows, logits_rows, masked, scored or bool(wide))
            else:
                self._program.launch(self._batch, rows, logits_rows, scored or bool(wide))
        self._batch.expect_tokens([row for row, draws in zip(plan.rows, plan.draws, strict=True) if draws])
        firsts = (
            {row: self._batch.num_computed_tokens(row) - n for row, n in zip(plan.rows, plan.num_logits, strict=True)} if scored else {}
        )
        self._launched.append(_Launched(plan, rows, logits_rows, errors, forced, firsts, wide))

    def collect(self) -> StepResult:
        """See `Executor.collect`."""
        launched = self._launched.popleft()
        return launched if isinstance(launched, StepResult) else self._finish(launched)

    def _finish(self, launched: _Launched) -> StepResult:
        """Wait for the oldest step on the device, and take its tokens."""
        plan = launched.plan
        with _faults_of(plan.step_id, self._device.name):
            token_ids, told, logits, device_ms = self._program.collect()
        errors = dict(launched.errors)
        prompt_logprobs = self._score_prompts(launched, logits, errors) if logits is not None else {}
        if launched.wide and logits is not None:
            told = self._score_wide(launched, logits, token_ids, told)
        drawn = {row: (token, report) for row, token, report in zip(launched.rows, token_ids, told, strict=True) if token is not None}
        # A row without a token ends, but a step that computes its next one may be under way: some token must stand there.
        wanted = [row for row, draws in zip(plan.rows, plan.draws, strict=True) if draws]
        living = [row for row in wanted if row not in launched.ended]
        self._batch.append_tokens(living, [drawn[row][0] if row in drawn else 0 for row in living])
        self._follow({row: drawn[row][0] for row in living if row in drawn}, errors)
        errors = {row: NO_TOKEN for row in wanted if row not in drawn} | errors
        drawn = {row: entry for row, entry in drawn.items() if row not in errors}
        return StepResult(
            plan.step_id,
            rows=list(drawn),
            token_ids=[[*launched.forced.get(row, ()), token] for row, (token, _) in drawn.items()],
            logprobs=reports(drawn, self._named, launched.rows, launched.logits_rows, logits if launched.wide else None),
            prompt_logprobs=prompt_logprobs,
            errors=errors,
            run_ms=device_ms,
        )

    def finished(self) -> bool:
        """See `Executor.finished`."""
        if isinstance(self._launched[0], StepResult):
            return True
        try:
            return self._program.finished()
        except RuntimeError:
            return True  # a fault, which `collect` reports

    def idle(self) -> bool:
        """See `Executor.idle`: one size of step is prepared, small ones first."""
        while self._unprepared:
            if self._program.prepare(self._unprepared.popleft()):
                return True
        return False

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
        for launched in self._launched:
            if isinstance(launched, _Launched):
                launched.ended.update(plan.ended)
        for row in plan.ended:
            self._batch.end_row(row)
            self._end_sampling(row)
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
        if fork.row == fork.source_row:
            self._end_sampling(fork.row)
        self._batch.fork_row(fork.row, fork.source_row, fork.num_tokens, fork.token_id)
        self._start_sampling(fork.row, self._batch.row_tokens(fork.row), self._batch.num_prompt_tokens(fork.row), fork.sampling)

    def _start_sampling(self, row: int, token_ids: list[int], num_prompt_tokens: int, sampling: RowSampling) -> bool:
        """Whether the device can draw for the row."""
        if sampling.named_token_ids:
            self._named[row] = sampling.named_token_ids
        if (sampling.num_logprobs or 0) > _MOST_REPORTED or sampling.named_token_ids:
            self._wide[row] = sampling.num_logprobs or 0
            sampling = replace(sampling, num_logprobs=None)
        try:
            self._program.start_row(row, token_ids, num_prompt_tokens, sampling)
        except Exception as error:
            return self._fail(row, error)
        if sampling.grammar is None:
            return True
        try:
            if self._matchers is None:
                raise ValueError("this engine serves no structured output")
            is_reported = sampling.num_logprobs is not None or row in self._wide
            self._matchers.start_row(row, sampling.grammar, token_ids[num_prompt_tokens:], forces=not is_reported)
        except Exception as error:
            self._end_sampling(row)
            return self._fail(row, error)
        return True

    def _fail(self, row: int, error: Exception) -> bool:
        log.warning("row %d cannot start: %s", row, error)
        self._failed[row] = f"the request cannot be run: {error}"
        return False

    def _end_sampling(self, row: int) -> None:
        self._wide.pop(row, None)
        self._named.pop(row, None)
        if self._failed.pop(row, None) is None:
            self._program.end_row(row)
        if self._matchers is not None:
            self._matchers.end_row(row)

    # ---- grammars -------------------------------------------------------------------------------------------------------------

    def _finish_all(self) -> None:
        """Take the tokens of every step under way: what a grammar says next hangs on them. Their results wait for `collect`."""
        self._launched = deque(entry if isinstance(entry, StepResult) else self._finish(entry) for entry in self._launched)

    def _add_forced(self, plan: StepPlan) -> dict[int, list[int]]:
        """Give rows the tokens that their grammars leave no choice about, as many as the plan has room for; by row."""
        if self._matchers is None:
            return {}
        self._finish_all()
        added: dict[int, list[int]] = {}
        for row, num_drafts in zip(plan.rows, plan.num_drafts, strict=True):
            forced = self._matchers.forced(row, num_drafts) if num_drafts and row not in self._failed else []
            if forced:
                self._matchers.accept(row, forced)
                self._program.append_tokens(row, forced)
                for token_id in forced:
                    self._batch.append_tokens([row], [token_id])
                added[row] = forced
        return added

    def _launch_masked(self, rows: list[int], logits_rows: list[int], masked: list[int], scored: bool) -> None:
        """Begin the step; draws `masked` of it wait for masks, which are filled while the device computes."""
        assert self._matchers is not None
        self._program.launch_forward(self._batch, scored)
        self._finish_all()
        self._matchers.fill([rows[index] for index in masked], self._program.masks(len(masked)))
        self._program.launch_draws(rows, logits_rows, masked)

    def _follow(self, drawn: dict[int, int], errors: dict[int, str]) -> None:
        """Tell the rows' grammars what was drawn; where one cannot go on, its request ends."""
        if self._matchers is None:
            return
        for row, token_id in drawn.items():
            if row in self._matchers:
                try:
                    self._matchers.accept(row, [token_id])
                except ValueError as error:
                    errors[row] = str(error)

    def _score_wide(
        self, launched: _Launched, logits: NDArray[np.float32], token_ids: list[int | None], told: list[tuple | None]
    ) -> list[tuple | None]:
        """The reports, with those that are too long for the device made of the logits here."""
        made = list(told)
        for index, (row, logits_row, token_id) in enumerate(zip(launched.rows, launched.logits_rows, token_ids, strict=True)):
            if row in launched.wide and token_id is not None:
                made[index] = self._scorer.score(logits[logits_row : logits_row + 1], [token_id], launched.wide[row])[0]
        return made

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
                scores = self._scorer.score(logits[end - count : end - count + len(targets)], targets, num_top)
            except Exception as error:
                errors[row] = f"the prompt's log-probabilities cannot be computed: {error}"
                continue
            if targets:
                scored[row] = [
                    None if report is None else token_logprobs(token, report) for token, report in zip(targets, scores, strict=True)
                ]
        return scored


@contextmanager
def _faults_of(step_id: int, device: str) -> Iterator[None]:
    """What the library throws that is neither a caller's mistake nor a lack of memory is a fault of the GPU: it computes no more."""
    try:
        yield
    except RuntimeError as error:
        raise DeviceLostError(f"step {step_id} on {device}: {error}") from error


def _step_sizes(max_num_seqs: int, max_num_tokens: int) -> list[int]:
    """Token counts of steps that occur, one for each graph or set of algorithms; those of one token a sequence first."""
    decode = [1, 2, 3, *range(4, 16, 2), *range(16, 64, 8), *range(64, 256, 16), *range(256, 513, 32)]
    mixed = [*range(640, 1025, 128), *range(1536, 4097, 512), 6144, 8192]
    return [size for size in decode if size <= max_num_seqs] + [size for size in mixed if size <= max_num_tokens]

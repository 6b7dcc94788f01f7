"""Executor over a model that transformers builds: its layers, our step, pages and attention.

A step's tokens are one row of a batch, with the positions of their sequences; only attention looks beyond a token, and that is ours
(`transformers_attention.py`). Whether that holds is tried when the model is loaded: a few tokens must get the logits of the model's own
attention, whole and cut in two.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from octavo._runtime import Batch
from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import one_line
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError, ConfigError
from octavo.runner.executor import CacheGroupBytes, StepShape
from octavo.runner.media_rows import MediaRows
from octavo.runner.transformers_attention import ATTENTION, PAGED_STEP, AttentionStep, PagedStep, Pages, PlainStep, register
from octavo.step import BlockCopy

__all__ = ["TransformersExecutor"]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_TRIAL_TOKENS = 12
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}  # of the largest logit
_ROPES_OF_THE_BATCH = ("dynamic", "longrope")  # whose frequencies change with the longest sequence of a step


class TransformersExecutor:
    """Implements `ForwardPass`. Text only; every layer keeps all its tokens, those behind a window too.

    Args:
        device: a torch device such as "cpu" or "cuda:0"; off the processor the weights stay in the checkpoint's type.
        sized: given what a block of all layers needs, the shape with the blocks that fit; None: `shape` itself.

    Attributes:
        shape: what it was built for.

    Raises:
        CheckpointError: transformers cannot load the model, or it cannot run on pages; says why.
        ConfigError: settings that such a model cannot have; names the flag.
    """

    def __init__(
        self,
        config: ModelConfig,
        checkpoint: Checkpoint,
        shape: StepShape,
        device: str,
        sized: Callable[[list[CacheGroupBytes]], StepShape] | None = None,
    ) -> None:
        if shape.kv_cache_dtype not in _TYPES:
            raise ConfigError(f"--kv-cache-dtype {shape.kv_cache_dtype}: a model that runs through transformers has {', '.join(_TYPES)}")
        self._what = f"{checkpoint.path}: a {config.model_type} model"
        self._device, self._block_size = torch.device(device), shape.block_size
        register()
        self._model = self._loaded(checkpoint)
        self._keeps_logits = "logits_to_keep" in inspect.signature(self._model.forward).parameters
        self._check_ropes(shape.max_model_len)
        layers, dtype = self._tried(config), _TYPES[shape.kv_cache_dtype]
        block_bytes = shape.block_size * dtype.itemsize * sum(heads * (key + value) for heads, key, value in layers)
        self.shape = shape = shape if sized is None else sized([CacheGroupBytes(None, block_bytes)])
        self._pages = [Pages(shape.num_blocks * shape.block_size, sizes, dtype, self._device) for sizes in layers]

    @torch.inference_mode()
    def execute(
        self, batch: Batch, media: Sequence[MediaRows] = (), axis_positions: NDArray[np.int32] | None = None
    ) -> NDArray[np.float32]:
        """See `ForwardPass.execute`."""
        positions = self._indices(batch.positions)
        step = PagedStep(
            self._pages,
            positions,
            self._indices(batch.slot_mapping[0]),
            batch.query_indptr.tolist(),
            batch.context_lens.tolist(),
            self._indices(batch.block_tables[0]),
            self._block_size,
        )
        return self._logits(step, self._indices(batch.token_ids), positions, self._indices(batch.logits_indices)).float().cpu().numpy()

    def pool(self, batch: Batch, token_types: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """See `ForwardPass.pool`: such models make text only."""
        raise NotImplementedError("a model that runs through transformers makes no vectors")

    def copy_blocks(self, copies: Sequence[BlockCopy]) -> None:
        """See `ForwardPass.copy_blocks`."""
        for _, source, destination in copies:
            for pages in self._pages:
                pages.copy_block(source, destination, self._block_size)

    def copy_states(self, row: int, source_row: int) -> None:
        """See `ForwardPass.copy_states`: layers keep keys and values only."""

    def write_source(self, row: int, rows: NDArray[np.float32]) -> None:
        """See `ForwardPass.write_source`: such models read text only."""
        raise NotImplementedError("a model that runs through transformers has no encoder of its own input")

    def profile(self) -> dict[str, tuple[int, float]]:
        """See `ForwardPass.profile`: ops are not timed."""
        return {}

    def _logits(self, step: AttentionStep, token_ids: torch.Tensor, positions: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """[L, V] of the tokens `kept`, of all the step's tokens as one row."""
        inputs: dict[str, Any] = {"input_ids": token_ids[None], "position_ids": positions[None], "use_cache": False}
        inputs["attention_mask"] = torch.ones_like(token_ids)[None]  # nothing is padding, and positions that begin again are no packing
        if self._keeps_logits:
            inputs["logits_to_keep"] = kept
        token = PAGED_STEP.set(step)
        try:
            logits = self._model(**inputs).logits[0]
        finally:
            PAGED_STEP.reset(token)
        return logits if self._keeps_logits else logits[kept]

    # ---- loading --------------------------------------------------------------------------------------------------------------

    def _loaded(self, checkpoint: Checkpoint) -> Any:
        from transformers import AutoConfig, AutoModelForCausalLM

        model: Any
        loaded: Any
        dtype: Any = torch.float32 if self._device.type == "cpu" else "auto"
        missing: set[str] = set()
        try:
            if checkpoint.names() is None:
                config = AutoConfig.from_pretrained(checkpoint.path, local_files_only=True, trust_remote_code=False)
                model = AutoModelForCausalLM.from_config(config, dtype=dtype if dtype != "auto" else torch.bfloat16)
            else:
                loaded = AutoModelForCausalLM.from_pretrained(
                    checkpoint.path,
                    dtype=dtype,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                )
                model, report = loaded
                missing = {str(name) for kind in ("missing_keys", "mismatched_keys") for name in report.get(kind, ())}
        except Exception as error:
            raise CheckpointError(f"{self._what} cannot be loaded by transformers: {one_line(error)}") from error
        if missing:
            raise CheckpointError(f"{self._what}: tensors are missing or misshapen: {', '.join(sorted(missing)[:5])}")
        if not getattr(type(model), "_supports_attention_backend", False):
            raise CheckpointError(f"{self._what} cannot be run: {type(model).__name__} of transformers has no pluggable attention function")
        self._check_positions(model)
        return model.eval().to(self._device)

    def _check_positions(self, model: Any) -> None:
        """Refuse layers that count positions from the length of a cache, which a step of several sequences has not."""
        for kind in {type(module) for module in model.modules() if hasattr(module, "layer_idx")}:
            if "get_seq_length" in inspect.getsource(kind.forward):
                raise CheckpointError(f"{self._what} cannot be run through transformers: {kind.__name__} counts positions by itself")

    def _check_ropes(self, max_model_len: int) -> None:
        """Refuse sequences so long that the frequencies of one would depend on the others in its step."""
        config = self._model.config.get_text_config(decoder=True)
        parameters = getattr(config, "rope_parameters", None) or {}
        for rope in [parameters, *(part for part in parameters.values() if isinstance(part, dict))]:
            limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
            if rope.get("rope_type") in _ROPES_OF_THE_BATCH and max_model_len > limit:
                raise ConfigError(
                    f"{self._what} turns positions by the longest sequence of a step beyond {limit} tokens ({rope['rope_type']}); "
                    f"through transformers it serves up to that: --max-model-len {limit}"
                )

    @torch.inference_mode()
    def _tried(self, config: ModelConfig) -> list[tuple[int, int, int]]:
        """What each layer keeps of a token: (heads, elements of a key, of a value). Raises where the model cannot run on pages."""
        token_ids = torch.arange(1, _TRIAL_TOKENS + 1, device=self._device) % config.vocab_size
        positions = torch.arange(_TRIAL_TOKENS, device=self._device)
        try:
            expected = self._model(input_ids=token_ids[None], use_cache=False).logits[0]
            self._model.set_attn_implementation(ATTENTION)
            plain = PlainStep(_TRIAL_TOKENS)
            whole = self._logits(plain, token_ids, positions, positions)
            pages = [Pages(2 * _TRIAL_TOKENS, sizes, torch.float32, self._device) for sizes in plain.layers]
            cut = [self._part(pages, token_ids, positions, part) for part in positions.split(_TRIAL_TOKENS // 2 + 1)]
        except CheckpointError as error:
            raise CheckpointError(f"{self._what} cannot be run through transformers: {error}") from error
        except Exception as error:
            raise CheckpointError(f"{self._what} cannot be run through transformers: {one_line(error)}") from error
        if len(plain.layers) != config.num_layers:
            raise CheckpointError(
                f"{self._what} cannot be run through transformers: {len(plain.layers)} of {config.num_layers} layers attend through the "
                "pluggable function; what the others keep of earlier tokens has no pages"
            )
        if whole.shape[1] != config.vocab_size:
            raise CheckpointError(f"{self._what} makes {whole.shape[1]} logits, but config.json says vocab_size {config.vocab_size}")
        self._compare(expected, whole, "its attention does more than transformers' attention functions are told")
        self._compare(expected, torch.cat(cut), "it keeps a state between tokens that is not keys and values")
        return plain.layers

    def _part(self, pages: list[Pages], token_ids: torch.Tensor, positions: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """Logits of some tokens, those before them in pages of one token each."""
        end = int(part[-1]) + 1
        step = PagedStep(pages, part, part, [0, len(part)], [end], positions[None, :end], 1)
        return self._logits(step, token_ids[part], part, torch.arange(len(part), device=self._device))

    def _compare(self, expected: torch.Tensor, found: torch.Tensor, why: str) -> None:
        error = float((found - expected).abs().max() / expected.abs().max())
        if not error <= _TOLERANCE[expected.dtype]:
            raise CheckpointError(
                f"{self._what} cannot be run through transformers: {why} (logits of {_TRIAL_TOKENS} tokens differ by {error:.2g})"
            )

    def _indices(self, values: NDArray[np.int32]) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.int64)).to(self._device)

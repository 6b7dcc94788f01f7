"""Multi-head latent attention: its keys in config.json, and the order of the rows in its files (DeepSeek-V2, arXiv:2405.04434)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.model_config import MlaConfig, ModelConfig, RopeConfig

__all__ = ["latent_decoder_config", "latent_rows"]


def latent_decoder_config(keys: ConfigKeys, **family: Any) -> ModelConfig:
    """As `decoder_config`, with `ModelConfig.mla`. Scores are scaled by what yarn adds to them as well (`mscale_all_dim`)."""
    rank = keys.optional_count("q_lora_rank")
    mla = MlaConfig(
        q_rank=rank,
        kv_rank=keys.count("kv_lora_rank"),
        nope_dim=keys.count("qk_nope_head_dim"),
        rope_dim=keys.count("qk_rope_head_dim"),
        value_dim=keys.count("v_head_dim"),
        bias=keys.flag("attention_bias"),
        paired=keys.flag("rope_interleave", True),
    )
    keys.value("head_dim", None)  # that of the rotated part, which has a key of its own
    keys.value("num_key_value_heads", None)  # every head has its own
    config = decoder_config(keys, head_dim=mla.rope_dim, mla=mla, **family)
    rope = config.ropes[0]
    assert rope is not None
    scale = (mla.nope_dim + mla.rope_dim) ** -0.5 * _mscale(rope) ** 2
    return replace(config, attention_scale=scale, num_kv_heads=config.num_heads)


def latent_rows(name: str, config: ModelConfig) -> NDArray[np.int64] | None:
    """Rows of queries: first of all heads what is not rotated, then what is, in halves; the rotated rows of keys in halves too."""
    mla, part = config.mla, name.split(".")[-2]
    assert mla is not None
    if part in ("q_proj", "q_b_proj"):
        rows = np.arange(config.num_heads * (mla.nope_dim + mla.rope_dim)).reshape(config.num_heads, -1)
        return np.concatenate([rows[:, : mla.nope_dim].ravel(), rows[:, mla.nope_dim :][:, _halves(mla)].ravel()])
    if part == "kv_a_proj_with_mqa":
        return np.concatenate([np.arange(mla.kv_rank), mla.kv_rank + _halves(mla)])
    return None


def _halves(mla: MlaConfig) -> NDArray[np.int64]:
    rows = np.arange(mla.rope_dim)
    return np.concatenate([rows[::2], rows[1::2]]) if mla.paired else rows


def _mscale(rope: RopeConfig) -> float:
    factor, strength = rope.parameters.get("factor", 1.0), rope.parameters.get("mscale_all_dim") or 0.0
    return 0.1 * strength * math.log(factor) + 1.0 if factor > 1 and strength else 1.0

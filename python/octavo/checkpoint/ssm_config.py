"""The keys of Mamba-2 mixers in config.json (Dao & Gu, arXiv:2405.21060), which hybrids write with a prefix."""

from __future__ import annotations

import math

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.model_config import SsmConfig

__all__ = ["hybrid_ssm_config", "time_step_limit"]


def hybrid_ssm_config(keys: ConfigKeys, *, inner: int | None = None) -> SsmConfig:
    """Read `mamba_n_heads` and its like; `inner`: channels of all heads, where they are not expand * hidden_size.

    Raises `CheckpointError` naming a key that is missing or contradicts another.
    """
    num_heads = keys.count("mamba_n_heads", most=8192)
    inner = inner or keys.count("mamba_expand") * keys.count("hidden_size")
    automatic = keys.value("mamba_d_head") == "auto"
    head_dim = inner // num_heads if automatic else keys.count("mamba_d_head")
    if head_dim * num_heads != inner:
        raise keys.refused("mamba_d_head", f"{num_heads} heads of it must be the mixer's {inner} channels")
    groups = keys.count("mamba_n_groups", most=8192)
    if num_heads % groups:
        raise keys.refused("mamba_n_groups", f"mamba_n_heads, {num_heads}, must be a multiple of it")
    dt_min, dt_max = time_step_limit(keys)
    return SsmConfig(
        num_heads=num_heads,
        head_dim=head_dim,
        state_size=keys.count("mamba_d_state"),
        num_groups=groups,
        conv_kernel=keys.count("mamba_d_conv", least=2, most=64),
        conv_bias=keys.flag("mamba_conv_bias"),
        proj_bias=keys.flag("mamba_proj_bias"),
        norm_eps=keys.number("rms_norm_eps", most=1.0),
        dt_min=dt_min,
        dt_max=dt_max,
    )


def time_step_limit(keys: ConfigKeys) -> tuple[float, float | None]:
    """Bounds of a time step; JSON has no word for infinity that all writers share, so anything without an end counts as it."""
    limits = keys.items("time_step_limit", [0.0, math.inf])
    if len(limits) != 2 or not isinstance(limits[0], (int, float)) or limits[0] < 0:
        raise keys.refused("time_step_limit", "two numbers are needed")
    least, most = limits
    if isinstance(most, dict):  # {"__float__": "Infinity"}
        most = math.inf
    if isinstance(most, str):
        most = float(most) if most in ("inf", "Infinity") else None
    if not isinstance(most, (int, float)) or most < least:
        raise keys.refused("time_step_limit", "two numbers are needed, the greater one last")
    return float(least), None if math.isinf(most) else float(most)

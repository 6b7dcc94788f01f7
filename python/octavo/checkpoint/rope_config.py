"""Rotary settings out of config.json, in both spellings: `rope_theta` + `rope_scaling` (transformers 4), `rope_parameters` (5)."""

from __future__ import annotations

from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.model_config import RopeConfig

__all__ = ["SCALINGS", "rope_config"]

_ORIGINAL = "original_max_position_embeddings"
# rope_type -> (numbers that it needs, numbers that it may have)
SCALINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), (_ORIGINAL,)),
    "linear": (("factor",), (_ORIGINAL,)),
    "dynamic": (("factor", _ORIGINAL), ()),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL), ()),
    "llama3_factors": ((), (_ORIGINAL,)),
    "yarn": (("factor", _ORIGINAL), ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")),
    "longrope": ((_ORIGINAL,), ("factor", "attention_factor")),
}
_LISTS = {"llama3_factors": ("factors",), "longrope": ("short_factor", "long_factor")}
_NAMES = {"su": "longrope", "mrope": "default"}  # what the first files of Phi-3 and of Qwen2-VL call them
_SECTIONS = ("mrope_section", "mrope_interleaved")
_READ = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned", "max_position_embeddings"}


def rope_config(
    keys: ConfigKeys,
    kind: str,
    head_dim: int,
    *,
    partial: bool = False,
    local_theta: float | None = None,
    sections: tuple[int, int, int] | None = None,
    by_turns: bool = False,
    default_theta: float = 10000.0,
) -> RopeConfig:
    """The rotary embedding of layers of one kind.

    Args:
        sections: of families whose positions have three axes (M-RoPE): how many angles turn with each where `mrope_section` is absent.
        by_turns: whether neighbouring angles turn with different axes.
        default_theta: the base where the file gives none.
        kind: full_attention or sliding_attention; `rope_parameters` may hold an object for each.
        partial: whether the family rotates only `partial_rotary_factor` of a head.
        local_theta: base of sliding layers, which then have no scaling, where `rope_parameters` does not tell kinds apart.

    Raises:
        CheckpointError: an unknown rope_type, or a setting that is missing, unknown or makes no sense.
    """
    section = keys.section("rope_parameters")
    by_kind = kind in section
    if by_kind:
        section = section.section(kind)
    legacy = keys.section("rope_scaling")
    if kind == "sliding_attention" and local_theta is not None and not by_kind:
        return RopeConfig(local_theta, _rotary_dim(keys, section, head_dim, partial))
    scaling = ConfigKeys(section.source, {**legacy.mapping(), **section.mapping()})
    theta = scaling.positive("rope_theta") if "rope_theta" in scaling else keys.positive("rope_theta", default_theta)
    rotary_dim = _rotary_dim(keys, scaling, head_dim, partial)
    axes = () if sections is None else _section_axes(scaling, rotary_dim // 2, sections, by_turns=by_turns)
    if axes:
        scaling = ConfigKeys(scaling.source, {key: value for key, value in scaling.mapping().items() if key not in _SECTIONS})
    return RopeConfig(theta, rotary_dim, *_scaling(keys, scaling, rotary_dim), axes=axes)


def _section_axes(scaling: ConfigKeys, num_angles: int, sections: tuple[int, int, int], *, by_turns: bool) -> tuple[int, ...]:
    """The axis (time, row, column) of each angle: the axes' shares one after the other (Qwen2-VL), or by turns (Qwen3-VL)."""
    given = tuple(scaling.counts("mrope_section", list(sections)))
    if len(given) != len(sections) or sum(given) != num_angles:
        raise scaling.refused("mrope_section", f"{len(sections)} numbers that add up to {num_angles}, half of a head, are needed")
    if not by_turns:
        return tuple(axis for axis, count in enumerate(given) for _ in range(count))
    axes = [0] * num_angles
    for axis in (1, 2):
        for angle in range(axis, 3 * given[axis], 3):
            if angle < num_angles:
                axes[angle] = axis
    return tuple(axes)


def _scaling(keys: ConfigKeys, scaling: ConfigKeys, rotary_dim: int) -> tuple[str, dict[str, Any]]:
    given = scaling.value("rope_type", None) or scaling.value("type", None) or "default"
    name = _NAMES.get(given, given) if isinstance(given, str) else given
    if not isinstance(name, str) or name not in SCALINGS:
        raise scaling.refused("rope_type" if "rope_type" in scaling else "type", f"known are {', '.join(SCALINGS)}")
    needed, optional = SCALINGS[name]
    parameters: dict[str, Any] = {key: scaling.positive(key) for key in needed if key != _ORIGINAL}
    parameters |= {key: scaling.positive(key) for key in optional if key != _ORIGINAL and key in scaling}
    parameters |= {key: scaling.numbers(key, size=rotary_dim // 2, least=1e-6) for key in _LISTS.get(name, ())}
    if name == "yarn" and "truncate" in scaling:
        parameters["truncate"] = scaling.flag("truncate")
    if _ORIGINAL in needed:
        owner = scaling if keys.value(_ORIGINAL, None) is None else keys  # transformers prefers the outer one
        parameters[_ORIGINAL] = owner.count(_ORIGINAL) if owner.value(_ORIGINAL, None) else keys.count("max_position_embeddings")
    if name == "longrope":
        parameters.setdefault("factor", keys.count("max_position_embeddings") / parameters[_ORIGINAL])
    for key in sorted(set(scaling.mapping()) - {*needed, *optional, *parameters, *_READ}):
        if key in scaling:
            raise scaling.refused(key, f"a rope_type of {name} has no such setting that is known")
    return name, parameters


def _rotary_dim(keys: ConfigKeys, scaling: ConfigKeys, head_dim: int, partial: bool) -> int:
    owner = scaling if "partial_rotary_factor" in scaling else keys
    factor = owner.number("partial_rotary_factor", 1.0, least=0.01, most=1.0)
    if factor != 1.0 and not partial:
        raise owner.refused("partial_rotary_factor", "models of this model_type rotate whole heads")
    rotary_dim = int(head_dim * factor)
    if rotary_dim % 2 or rotary_dim == 0:
        raise owner.refused("partial_rotary_factor", f"of heads of {head_dim} it rotates {rotary_dim}, which must be an even number")
    return rotary_dim

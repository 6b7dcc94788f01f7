"""Typed reading of a model file's keys: config.json, generation_config.json, tokenizer files, GGUF metadata.

A value of another type, or outside its range, is a `CheckpointError` that names the file and the key, and quotes no more than a line.
A key that is left out has its family's default; `null` stands for "none" where a method says `optional`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from octavo.errors import CheckpointError

__all__ = ["MAX_COUNT", "ConfigKeys", "MetadataKeys", "one_line"]

MAX_COUNT = 1 << 24  # elements, layers or positions; beyond every model there is, and small enough to multiply
_MAX_NUMBER = 1e12
_MAX_MESSAGE = 300
_QUOTED = 60  # characters of a bad value that a message shows
_REQUIRED: Any = object()

# Keys that change what a model computes, and the values with which they do not. A family that knows a key reads it; of one that
# does not, any other value is refused. Keys that stand nowhere (names, training settings, a fine-tuner's notes) are left alone.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "alibi": (False,),
    "attention_bias": (False,),
    "attention_chunk_size": (None,),
    "attention_multiplier": (None,),
    "attention_sink": (None, False),
    "attn_logit_softcapping": (None,),
    "clip_qkv": (None,),
    "embedding_multiplier": (None, 1),
    "final_logit_softcapping": (None,),
    "first_k_dense_replace": (None, 0),
    "kv_lora_rank": (None,),
    "layer_types": (None,),
    "logit_scale": (None, 1),
    "logits_scaling": (None, 1),
    "mlp_bias": (False,),
    "n_routed_experts": (None, 0),
    "no_rope_layer_interval": (None, 0),
    "no_rope_layers": (None, []),
    "num_experts": (None, 0),
    "num_local_experts": (None, 0),
    "parallel_attn": (False,),
    "partial_rotary_factor": (None, 1),
    "q_lora_rank": (None,),
    "qk_layernorm": (False,),
    "qkv_bias": (False,),
    "quantization_config": (None,),
    "query_pre_attn_scalar": (None,),
    "residual_multiplier": (None, 1),
    "rope_scaling": (None,),
    "rotary_dim": (None,),
    "rotary_pct": (None, 1),
    "scale_attn_by_inverse_layer_idx": (False,),
    "scale_depth": (None,),
    "scale_emb": (None, 1),
    "shared_expert_intermediate_size": (None, 0),
    "sliding_window": (None,),
    "use_bidirectional_attention": (None, False),
    "use_bias": (False,),
    "use_parallel_residual": (False,),
    "use_qk_norm": (False,),
    "use_qkv_bias": (False,),
}


class ConfigKeys:
    """One dictionary of a model's files, read by type; remembers which keys were asked for.

    Args:
        source: what messages begin with, such as `/models/llama/config.json`.
        values: the dictionary.
        defaults: values of keys that it leaves out.
        prefix: put before every key, such as `llama.` in GGUF metadata.
        aliases: key -> what the family's files call it; a key that stands there itself is taken all the same.
    """

    def __init__(
        self,
        source: str,
        values: Mapping[str, Any],
        defaults: Mapping[str, Any] | None = None,
        *,
        prefix: str = "",
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.source = source
        self.prefix = prefix
        self._values = values
        self._defaults = defaults or {}
        self._aliases = aliases or {}
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        """Whether the dictionary itself has the key, with another value than null."""
        return self._values.get(self._key(key)) is not None

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value as it stands, of any type. Raises `CheckpointError` when there is none and no default."""
        self._asked |= {key, self._aliases.get(key, key)}
        value = self._stored(key)
        if value is not None or self._key(key) in self._values:
            return value
        value = self._defaults.get(key, default)
        if value is _REQUIRED:
            raise CheckpointError(f"{self._named(key)} is missing; the file is incomplete or of another model than it says")
        return value

    def count(self, key: str, default: Any = _REQUIRED, *, least: int = 1, most: int = MAX_COUNT) -> int:
        """A whole number of `least` .. `most`."""
        value = self.value(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.refused(key, f"a whole number of {least} to {most} is needed")
        return value

    def optional_count(self, key: str, default: int | None = None, *, least: int = 1, most: int = MAX_COUNT) -> int | None:
        """As `count`; null means none."""
        return None if self.value(key, default) is None else self.count(key, default, least=least, most=most)

    def number(self, key: str, default: Any = _REQUIRED, *, least: float = 0.0, most: float = _MAX_NUMBER) -> float:
        """A finite number of `least` .. `most`."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            raise self.refused(key, f"a number of {least:g} to {most:g} is needed")
        return float(value)

    def optional_number(self, key: str, default: float | None = None, *, least: float = 0.0, most: float = _MAX_NUMBER) -> float | None:
        """As `number`; null means none."""
        return None if self.value(key, default) is None else self.number(key, default, least=least, most=most)

    def positive(self, key: str, default: Any = _REQUIRED) -> float:
        """A number above zero: an epsilon, a base of frequencies, a factor."""
        return self.number(key, default, least=1e-30)

    def flag(self, key: str, default: Any = False) -> bool:
        """True or false; null is the default."""
        value = self.value(key, default)
        if value is None:
            value = self._defaults.get(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, "true or false is needed")
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """A string."""
        value = self.value(key, default)
        if not isinstance(value, str):
            raise self.refused(key, "a text is needed")
        return value

    def optional_flag(self, key: str) -> bool | None:
        """True, false, or None where the key is absent or null."""
        return self.flag(key) if key in self else None

    def name(self, key: str, default: Any = _REQUIRED) -> str:
        """A text short enough to be quoted, such as the name of a model family."""
        value = self.text(key, default)
        if len(value) > _QUOTED:
            raise self.refused(key, f"a name of at most {_QUOTED} characters is needed")
        return value

    def optional_text(self, key: str, default: str | None = None) -> str | None:
        """As `text`; null means none."""
        return None if self.value(key, default) is None else self.text(key, default)

    def items(self, key: str, default: Any = _REQUIRED) -> list[Any]:
        """A list; null counts as an empty one."""
        value = self.value(key, default)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.refused(key, "a list is needed")
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> list[str]:
        """A list of strings."""
        values = self.items(key, default)
        if not all(isinstance(value, str) for value in values):
            raise self.refused(key, "a list of texts is needed")
        return values

    def numbers(self, key: str, default: Any = _REQUIRED, *, size: int | None = None, least: float = -_MAX_NUMBER) -> list[float]:
        """A list of numbers of at least `least`, `size` of them where that is given."""
        values = self.items(key, default)
        sound = all(isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= _MAX_NUMBER for value in values)
        if not sound or (size is not None and len(values) != size):
            raise self.refused(key, f"a list of {'' if size is None else f'{size} '}numbers is needed")
        return [float(value) for value in values]

    def counts(self, key: str, default: Any = _REQUIRED) -> list[int]:
        """A list of whole numbers of at least 0."""
        values = self.items(key, default)
        if not all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT for value in values):
            raise self.refused(key, "a list of whole numbers of at least 0 is needed")
        return values

    def objects(self, key: str, default: Any = _REQUIRED) -> list[dict[str, Any]]:
        """A list of objects."""
        values = self.items(key, default)
        if not all(isinstance(value, dict) for value in values):
            raise self.refused(key, "a list of objects is needed")
        return values

    def section(self, key: str, defaults: Mapping[str, Any] | None = None) -> ConfigKeys:
        """The object under a key, read in the same way; left out or null, an empty one."""
        value = self.value(key, None)
        if value is not None and not isinstance(value, dict):
            raise self.refused(key, "an object is needed")
        return ConfigKeys(f"{self.source}: {self.prefix}{key}", value or {}, defaults)

    def with_defaults(self, defaults: Mapping[str, Any]) -> ConfigKeys:
        """The same dictionary with defaults for keys that it leaves out."""
        return ConfigKeys(self.source, self._values, defaults, prefix=self.prefix)

    def mapping(self) -> dict[str, Any]:
        """The dictionary without its prefix, defaults filled in."""
        return {**self._defaults, **self._values}

    def refused(self, key: str, why: str) -> CheckpointError:
        """The error for a value that cannot be used."""
        value = self._values.get(self._key(key), self._defaults.get(key))
        return CheckpointError(f"{self._named(key)} is {_quoted(value)}: {why}")

    def was_asked(self, key: str) -> bool:
        """Whether anybody has read the key."""
        return key in self._asked

    def check_unread(self) -> None:
        """Raise `CheckpointError` for a key that changes what a model computes and that nobody asked for."""
        for key, neutral in _NEUTRAL.items():
            if key in self._values and key not in self._asked and self._values[key] not in neutral:
                raise self.refused(key, "this setting changes what the model computes, and is not supported for its model_type")

    def _named(self, key: str) -> str:
        return f"{self.source}: {self._key(key)}"

    def _stored(self, key: str) -> Any:
        return self._values.get(self._key(key))

    def _key(self, key: str) -> str:
        """As the dictionary calls it."""
        own = self.prefix + key
        return own if own in self._values else self.prefix + self._aliases.get(key, key)


class MetadataKeys(ConfigKeys):
    """GGUF metadata of one architecture: `count("block_count")` reads `<architecture>.block_count`."""

    def __init__(self, path: Any, metadata: Mapping[str, Any], prefix: str = "") -> None:
        super().__init__(f"{path}: metadata key", metadata, prefix=prefix)

    def _named(self, key: str) -> str:
        return f"{self.source} {self.prefix}{key}"

    def _stored(self, key: str) -> Any:
        """A numeric array with one value throughout counts as that value; 32-bit floats as the shortest decimal that names them."""
        value = super()._stored(key)
        if isinstance(value, np.ndarray):
            return self._uniform(key, value)
        return float(str(np.float32(value))) if isinstance(value, float) else value

    def items(self, key: str, default: Any = _REQUIRED) -> list[Any]:
        """A list, or an array as one."""
        value = super()._stored(key)
        return value.tolist() if isinstance(value, np.ndarray) else super().items(key, default)

    def texts(self, key: str, default: Any = _REQUIRED) -> list[str]:
        """A list of strings; the header's reader makes no other lists, and a vocabulary is long."""
        return self.items(key, default) if isinstance(super()._stored(key), list) else super().texts(key, default)

    def array(self, key: str, size: int, *, least: float, most: float) -> np.ndarray:
        """A numeric array of `size` values of `least` .. `most`."""
        self._asked.add(key)
        value = super()._stored(key)
        if value is None:
            raise CheckpointError(f"{self._named(key)} is missing; the file is incomplete or of another model than it says")
        if not isinstance(value, np.ndarray) or value.size != size or not bool(((value >= least) & (value <= most)).all()):
            raise self.refused(key, f"an array of {size} numbers of {least:g} to {most:g} is needed")
        return value

    def per_layer(self, key: str) -> list[Any] | None:
        """An array with an entry per layer; None when the key is absent or one value."""
        value = super()._stored(key)
        return value.tolist() if isinstance(value, np.ndarray) else None

    def _uniform(self, key: str, values: np.ndarray) -> Any:
        if np.unique(values).size != 1:
            raise CheckpointError(f"{self._named(key)} differs between layers, which no supported model does")
        return values[0].item()


def one_line(error: Exception) -> str:
    """The beginning of a library's message, without line breaks; some quote a whole vocabulary."""
    text = " ".join(str(error)[:_MAX_MESSAGE].split())
    return text if len(str(error)) <= _MAX_MESSAGE else f"{text}..."


def _quoted(value: Any) -> str:
    """The value on one short line; of a collection no more than its kind and length."""
    if isinstance(value, (list, dict, tuple, np.ndarray)):
        kind = {dict: "an object", np.ndarray: "an array"}.get(type(value), "a list")
        return f"{kind} of {len(value)}"
    text = repr(value if not isinstance(value, str) else value[: _QUOTED + 1])
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}..."

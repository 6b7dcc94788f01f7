"""How a model that makes vectors is used: what of its hidden states becomes a vector, and what texts go in.

Read from sentence-transformers' own files (modules.json, its modules' config.json, config_sentence_transformers.json,
sentence_bert_config.json) and from the head that config.json names. https://sbert.net describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.errors import CheckpointError

__all__ = ["POOLING_KINDS", "TASKS", "DenseConfig", "PoolingConfig", "read_pooling", "task_of"]

TASKS = ("generate", "embed", "classify", "token_classify")
POOLING_KINDS = ("last", "cls", "mean")
_KIND_OF_MODE = {"lasttoken": "last", "last": "last", "cls": "cls", "mean": "mean"}
_MOST_LABELS = 1 << 20


@dataclass(frozen=True, slots=True)
class DenseConfig:
    """A linear layer behind the pooling. `prefix` is put before the names of its tensors.

    Attributes:
        activation: "tanh" or "identity".
    """

    prefix: str
    in_features: int
    out_features: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class PoolingConfig:
    """A model that makes vectors instead of tokens.

    Attributes:
        task: "embed", "classify" or "token_classify".
        kind: which tokens' hidden states become the vector of a sequence: "last", "cls" (the first), or "mean".
        activation: what a vector goes through unless the request says otherwise: "none", "normalize", "softmax" or "sigmoid".
        dense: linear layers behind the pooling, in order.
        labels: names of a classifier's columns; empty of embeddings.
        prompts: name -> text that is put before a text to embed (instructions such as "query: ").
        default_prompt: the one of them that is used where a request names none; None: none is.
        max_tokens: most tokens of a text; None: as many as the model has positions.
        width, token_width: columns of the vector of a text, and of a token.
        whole: whether all tokens of a text must be computed at once (encoders).
        lower_case: whether texts are put into lower case first.
    """

    task: str
    kind: str
    activation: str
    dense: tuple[DenseConfig, ...] = ()
    labels: tuple[str, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    max_tokens: int | None = None
    lower_case: bool = False
    width: int = 0
    token_width: int = 0
    whole: bool = False

    @property
    def reuses_prefix(self) -> bool:
        """Whether a text's vector needs no hidden states but those of its last token."""
        return self.kind == "last" and not self.whole


def task_of(config: Mapping[str, Any], folder: Path | None, *, is_encoder: bool) -> str:
    """What the files say the model is for: by the class that config.json names, and whether sentence-transformers made the folder."""
    name = _architecture(config)
    if name.endswith(("ForSequenceClassification", "ForRewardModel")):
        return "classify"
    if name.endswith("ForTokenClassification"):
        return "token_classify"
    made_by_st = folder is not None and (folder / "modules.json").is_file()
    bare = name.endswith("Model") and not name.endswith("LMHeadModel")  # GPT2LMHeadModel generates
    return "embed" if is_encoder or made_by_st or bare else "generate"


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def _is_reward(config: Mapping[str, Any]) -> bool:
    """A reward model gives numbers, not probabilities."""
    return _architecture(config).endswith("ForRewardModel")


def read_pooling(
    source: str, config: Mapping[str, Any], folder: Path | None, task: str, *, hidden_size: int, is_encoder: bool
) -> PoolingConfig:
    """Read what there is of the files of `folder`; a bare model is pooled by mean (encoders) or by its last token, and normalised.

    Raises:
        CheckpointError: a file that cannot be read, or a module that is not supported; names it.
    """
    keys = ConfigKeys(source, config)
    if task == "embed":
        found = _embedding(folder, is_encoder)
        width = found.dense[-1].out_features if found.dense else hidden_size
        return replace(found, width=width, token_width=hidden_size, whole=is_encoder)
    labels = _labels(keys, default=1 if _is_reward(config) else 2)
    token_width = len(labels) if task == "token_classify" else hidden_size
    kind, activation = _classifier_kind(keys, is_encoder), "none" if _is_reward(config) else _classifier_activation(keys, task)
    return PoolingConfig(task, kind, activation, labels=labels, width=len(labels), token_width=token_width, whole=is_encoder)


# ---- sentence-transformers' files -------------------------------------------------------------------------------------------------


def _embedding(folder: Path | None, is_encoder: bool) -> PoolingConfig:
    kind, activation = "mean" if is_encoder else "last", "normalize"
    dense: tuple[DenseConfig, ...] = ()
    if folder is None:
        return PoolingConfig("embed", kind, activation)
    if (folder / "modules.json").is_file():
        kind, activation, dense = _modules(folder, kind)
    model, limits = _keys(folder / "config_sentence_transformers.json"), _keys(folder / "sentence_bert_config.json")
    prompts = {name: text for name, text in model.section("prompts").mapping().items() if isinstance(text, str) and text}
    default = model.optional_text("default_prompt_name")
    return PoolingConfig(
        "embed",
        kind,
        activation,
        dense,
        prompts=prompts,
        default_prompt=default if default in prompts else None,
        max_tokens=limits.optional_count("max_seq_length"),
        lower_case=limits.flag("do_lower_case", False),
    )


def _modules(folder: Path, kind: str) -> tuple[str, str, tuple[DenseConfig, ...]]:
    """Pooling kind, activation, dense layers, as modules.json lists them."""
    activation, dense = "none", []
    for module in _module_list(folder / "modules.json"):
        name, path = module.text("type").rpartition(".")[2], module.text("path", "")
        if ".." in path or path.startswith("/"):
            raise module.refused("path", "a folder inside the model's is needed")
        if name == "Pooling":
            kind = _pooling_kind(_keys(folder / path / "config.json"))
        elif name == "Dense":
            dense.append(_dense(_keys(folder / path / "config.json"), path))
        elif name == "Normalize":
            activation = "normalize"
        elif name != "Transformer":
            raise module.refused("type", "of sentence-transformers' modules, Transformer, Pooling, Dense and Normalize are supported")
    return kind, activation, tuple(dense)


def _module_list(path: Path) -> list[ConfigKeys]:
    import json

    try:
        modules = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error)[:200]}") from error
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise CheckpointError(f"{path} must hold a list of objects")
    return [ConfigKeys(str(path), module) for module in modules]


def _pooling_kind(keys: ConfigKeys) -> str:
    mode = keys.value("pooling_mode", None)
    modes = [mode] if isinstance(mode, str) else []
    for name in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"):
        if not modes and keys.flag(f"pooling_mode_{name}", False):
            modes.append(name.removesuffix("_token").removesuffix("_tokens"))
    if len(modes) != 1 or modes[0] not in _KIND_OF_MODE:
        raise CheckpointError(f"{keys.source}: pooling by {' and '.join(modes) or 'nothing'} is not supported; cls, mean and lasttoken are")
    return _KIND_OF_MODE[modes[0]]


def _dense(keys: ConfigKeys, path: str) -> DenseConfig:
    name = keys.text("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2].lower()
    if name not in ("tanh", "identity"):
        raise keys.refused("activation_function", "Tanh and Identity are supported")
    return DenseConfig(path, keys.count("in_features"), keys.count("out_features"), keys.flag("bias", True), name)


def _keys(path: Path) -> ConfigKeys:
    from octavo.checkpoint.hf_folder import read_json

    return ConfigKeys(str(path), read_json(path) if path.is_file() else {})


# ---- heads that config.json names -------------------------------------------------------------------------------------------------


def _classifier_kind(keys: ConfigKeys, is_encoder: bool) -> str:
    if not is_encoder:
        return "last"
    kind = keys.text("classifier_pooling", "cls")
    if kind not in POOLING_KINDS:
        raise keys.refused("classifier_pooling", f"one of {', '.join(POOLING_KINDS)} is needed")
    return kind


def _labels(keys: ConfigKeys, default: int = 2) -> tuple[str, ...]:
    """In the order of their ids; transformers leaves two labels with names of its own out of the file."""
    names = keys.section("id2label").mapping()
    if names and all(key.isdecimal() for key in names) and {int(key) for key in names} == set(range(len(names))):
        return tuple(str(names[key]) for key in sorted(names, key=int))
    if names:
        raise keys.refused("id2label", "an object with the keys 0, 1, ... is needed")
    return tuple(f"LABEL_{index}" for index in range(keys.count("num_labels", default, most=_MOST_LABELS)))


def _classifier_activation(keys: ConfigKeys, task: str) -> str:
    """As cross-encoders of sentence-transformers and pipelines of transformers have it."""
    named = keys.section("sentence_transformers").optional_text("activation_fn") or keys.optional_text(
        "sbert_ce_default_activation_function"
    )
    if named:
        name = named.rpartition(".")[2].lower()
        if name not in ("sigmoid", "identity"):
            raise keys.refused("sentence_transformers", "as activation_fn, Sigmoid and Identity are supported")
        return "sigmoid" if name == "sigmoid" else "none"
    problem = keys.optional_text("problem_type")
    if problem == "regression":
        return "none"
    is_multi_label = problem == "multi_label_classification" or (len(_labels(keys)) == 1 and task == "classify")
    return "sigmoid" if is_multi_label else "softmax"

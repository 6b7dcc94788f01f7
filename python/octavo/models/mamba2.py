"""Mamba-2 (Dao & Gu 2024): no attention; each layer keeps a state for a sequence, whatever its length."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, SsmConfig
from octavo.checkpoint.ssm_config import time_step_limit
from octavo.layers.mamba import Mamba2Mixer
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Step, Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"backbone\.layers\.(\d+)\.norm\.weight", r"model.layers.\1.input_layernorm.weight"),
        (r"backbone\.layers\.(\d+)\.(.*)", r"model.layers.\1.\2"),
        (r"backbone\.embeddings?\.(.*)", r"model.embed_tokens.\1"),
        (r"backbone\.norm_f\.(.*)", r"model.norm.\1"),
    )
)


class _Block:
    """norm -> mixer -> add."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int) -> None:
        assert config.ssm is not None
        self.norm = make_norm(weights, config, f"model.layers.{index}.input_layernorm")
        self.mixer = Mamba2Mixer(weights, config.ssm, config.hidden_size, f"model.layers.{index}.mixer")

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.norm.add(x, residual)
        return self.mixer(x, step), residual


class Model(Decoder):
    """Mamba-2. Nothing bounds its context; 131072 tokens are served where config.json says no other number."""

    defaults: ClassVar = {
        "num_heads": 128,
        "head_dim": 64,
        "vocab_size": 32768,
        "hidden_size": 4096,
        "state_size": 128,
        "num_hidden_layers": 64,
        "layer_norm_epsilon": 1e-5,
        "expand": 2,
        "conv_kernel": 4,
        "n_groups": 8,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        num_layers, hidden_size = keys.count("num_hidden_layers", most=4096), keys.count("hidden_size")
        heads, head_dim, groups = keys.count("num_heads", most=8192), keys.count("head_dim"), keys.count("n_groups", most=8192)
        if heads * head_dim != keys.count("expand") * hidden_size:
            raise keys.refused("head_dim", f"{heads} heads of it must be expand * hidden_size")
        if heads % groups:
            raise keys.refused("n_groups", f"num_heads, {heads}, must be a multiple of it")
        if keys.text("hidden_act") not in ("silu", "swish"):
            raise keys.refused("hidden_act", "the mixer's activation is silu")
        eps, (dt_min, dt_max) = keys.number("layer_norm_epsilon", most=1.0), time_step_limit(keys)
        ssm = SsmConfig(
            num_heads=heads,
            head_dim=head_dim,
            state_size=keys.count("state_size"),
            num_groups=groups,
            conv_kernel=keys.count("conv_kernel", least=2, most=64),
            conv_bias=keys.flag("use_conv_bias"),
            proj_bias=keys.flag("use_bias"),
            norm_eps=eps,
            dt_min=dt_min,
            dt_max=dt_max,
        )
        return ModelConfig(
            model_type=keys.text("model_type"),
            vocab_size=keys.count("vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=heads * head_dim,
            num_layers=num_layers,
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=head_dim,
            max_position_embeddings=keys.count("max_position_embeddings"),
            norm_eps=eps,
            tie_word_embeddings=keys.flag("tie_word_embeddings"),
            attention_scale=1.0,
            windows=(None,) * num_layers,
            ropes=(None,) * num_layers,
            ssm=ssm,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> _Block:
        return _Block(weights, config, index)

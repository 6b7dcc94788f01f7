"""Falcon-H1 (TII 2025): attention and a Mamba-2 mixer side by side in each layer, and a factor wherever two parts meet."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import HybridScales, ModelConfig
from octavo.checkpoint.ssm_config import hybrid_ssm_config
from octavo.layers.attention import Attention
from octavo.layers.linear import Linear
from octavo.layers.mamba import Mamba2Mixer
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Step, Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    (
        (r"(.*)\.feed_forward\.(.*)", r"\1.mlp.\2"),
        (r"(.*)\.pre_ff_layernorm\.(.*)", r"\1.post_attention_layernorm.\2"),
        (r"model\.final_layernorm\.(.*)", r"model.norm.\1"),
    )
)
_FACTORS = {
    "attention_in": "attention_in_multiplier",
    "attention_out": "attention_out_multiplier",
    "mixer_in": "ssm_in_multiplier",
    "mixer_out": "ssm_out_multiplier",
}


class _MLP:
    """down(silu(gate(x) * m) * up(x)) * n."""

    def __init__(self, weights: Weights, config: ModelConfig, prefix: str, scales: HybridScales) -> None:
        self.ops, self.size, (self.gate_scale, self.down_scale) = weights.ops, config.intermediate_size, scales.mlp
        parts = {f"{prefix}.gate_proj": self.size, f"{prefix}.up_proj": self.size}
        self.gate_up = Linear(weights, parts, config.hidden_size, bias=config.mlp_bias)
        self.down = Linear(weights, {f"{prefix}.down_proj": config.hidden_size}, self.size, bias=config.mlp_bias)

    def __call__(self, x: Tensor) -> Tensor:
        ops, both = self.ops, self.gate_up(x)
        gate = ops.silu(ops.scale(ops.columns(both, 0, self.size), self.gate_scale))
        return ops.scale(self.down(ops.mul(gate, ops.columns(both, self.size, self.size))), self.down_scale)


class _Block:
    """norm -> attention and mixer, side by side -> add -> norm -> feed-forward -> add."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> None:
        assert config.ssm is not None and config.ssm.scales is not None
        prefix, self.ops, self.scales = f"model.layers.{index}", weights.ops, config.ssm.scales
        self.input_norm = make_norm(weights, config, f"{prefix}.input_layernorm")
        at = f"{prefix}.self_attn"
        self.attention = Attention(weights, config, at, index, rope, qkv_bias=config.qkv_bias, out_bias=config.out_bias)
        self.mixer = Mamba2Mixer(weights, config.ssm, config.hidden_size, f"{prefix}.mamba")
        self.post_norm = make_norm(weights, config, f"{prefix}.post_attention_layernorm")
        self.mlp = _MLP(weights, config, f"{prefix}.mlp", self.scales)

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        scale, scales = self.ops.scale, self.scales
        x, residual = self.input_norm.add(x, residual)
        attended = scale(self.attention(scale(x, scales.attention_in), step), scales.attention_out)
        mixed = scale(self.mixer(scale(x, scales.mixer_in), step), scales.mixer_out)
        x, residual = self.post_norm.add(self.ops.add(mixed, attended), residual)
        return self.mlp(x), residual


class Model(Decoder):
    """Falcon-H1."""

    defaults: ClassVar = {
        "vocab_size": 128000,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "mamba_d_ssm": 1024,
        "mamba_n_heads": 128,
        "mamba_d_head": "auto",
        "mamba_n_groups": 1,
        "mamba_d_state": 256,
        "mamba_d_conv": 4,
        "mamba_expand": 2,
        "mamba_conv_bias": True,
        "mamba_proj_bias": False,
        "mamba_norm_before_gate": True,
        "mamba_rms_norm": False,
        "projectors_bias": False,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        scales = HybridScales(
            **{name: keys.positive(key, 1.0) for name, key in _FACTORS.items()},
            mlp=_factors(keys, "mlp_multipliers", 2),
            projected=_factors(keys, "ssm_multipliers", 5),
        )
        ssm = replace(
            hybrid_ssm_config(keys, inner=keys.optional_count("mamba_d_ssm", 1024)),
            scales=scales,
            norm="none" if not keys.flag("mamba_rms_norm") else "before" if keys.flag("mamba_norm_before_gate") else "behind",
            out_bias=keys.flag("projectors_bias"),
        )
        config = decoder_config(
            keys,
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=keys.flag("mlp_bias"),
            embedding_scale=keys.positive("embedding_multiplier", 1.0),
            logits_scale=keys.positive("lm_head_multiplier", 1.0),
            ssm=ssm,
        )
        if config.activation != "silu":
            raise keys.refused("hidden_act", "the feed-forward block's activation is silu")
        # A factor of keys is one of scores.
        return replace(config, attention_scale=config.attention_scale * keys.positive("key_multiplier", 1.0))

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> _Block:
        return _Block(weights, config, index, rope)


def _factors(keys: ConfigKeys, key: str, count: int) -> tuple[float, ...]:
    return tuple(keys.numbers(key, None, size=count)) if keys.value(key, None) is not None else (1.0,) * count

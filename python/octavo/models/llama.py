"""Llama 1 to 3 and what is wired like it: SmolLM, Mistral, Qwen2, Qwen3 (Touvron et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Step, Tensor
from octavo.layers.attention import Attention, QkNorm
from octavo.layers.mlp import GatedMLP
from octavo.layers.norm import RMSNorm
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder

__all__ = ["LlamaLayer", "Model"]


class LlamaLayer:
    """norm -> attention -> add -> norm -> feed-forward -> add; each add is fused with the norm that follows it.

    Args:
        mlp: the feed-forward block where it is not the usual gated one.
    """

    def __init__(
        self,
        weights: Weights,
        config: ModelConfig,
        index: int,
        rope: Tensor,
        *,
        qkv_bias: bool,
        out_bias: bool,
        qk_norm: QkNorm | None = None,
        mlp: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        prefix = f"model.layers.{index}"
        raw, eps = config.raw, config.rms_norm_eps
        self.input_norm = RMSNorm(weights, f"{prefix}.input_layernorm", config.hidden_size, eps)
        self.attention = Attention(
            weights,
            config,
            f"{prefix}.self_attn",
            index,
            rope,
            qkv_bias=qkv_bias,
            out_bias=out_bias,
            qk_norm=qk_norm,
        )
        self.post_norm = RMSNorm(weights, f"{prefix}.post_attention_layernorm", config.hidden_size, eps)
        activation = raw.get("hidden_act", "silu")
        mlp_bias = bool(raw.get("mlp_bias"))
        self.mlp = mlp or GatedMLP(weights, f"{prefix}.mlp", config.hidden_size, config.intermediate_size, activation, bias=mlp_bias)

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.input_norm.add(x, residual)
        x, residual = self.post_norm.add(self.attention(x, step), residual)
        return self.mlp(x), residual


class Model(Decoder):
    """Llama."""

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> LlamaLayer:
        bias = bool(config.raw.get("attention_bias"))
        return LlamaLayer(weights, config, index, rope, qkv_bias=bias, out_bias=bias)

"""Gemma 3, text only (Gemma Team 2025): norms before and after each block, local and global layers, scaled embeddings."""

from __future__ import annotations

from octavo.checkpoint.model_config import ModelConfig
from octavo.kernels.ops import Step, Tensor
from octavo.layers.attention import Attention, QkNorm
from octavo.layers.mlp import GatedMLP
from octavo.layers.norm import RMSNorm
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder

__all__ = ["Model"]

_NORM_OFFSET = 1.0  # the checkpoint stores weight - 1


class GemmaLayer:
    """norm -> attention -> norm -> add -> norm -> feed-forward -> norm -> add."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> None:
        prefix = f"model.layers.{index}"

        def norm(name: str) -> RMSNorm:
            return RMSNorm(weights, f"{prefix}.{name}", config.hidden_size, config.rms_norm_eps, offset=_NORM_OFFSET)

        self.input_norm = norm("input_layernorm")
        self.attention = Attention(
            weights,
            config,
            f"{prefix}.self_attn",
            index,
            rope,
            qkv_bias=bool(config.raw.get("attention_bias")),
            out_bias=bool(config.raw.get("attention_bias")),
            qk_norm=QkNorm(offset=_NORM_OFFSET),
            softcap=config.raw.get("attn_logit_softcapping"),
        )
        self.post_attention_norm = norm("post_attention_layernorm")
        self.pre_mlp_norm = norm("pre_feedforward_layernorm")
        activation = config.raw.get("hidden_activation") or "gelu_pytorch_tanh"
        self.mlp = GatedMLP(weights, f"{prefix}.mlp", config.hidden_size, config.intermediate_size, activation)
        self.post_mlp_norm = norm("post_feedforward_layernorm")

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.input_norm.add(x, residual)
        x = self.post_attention_norm(self.attention(x, step))
        x, residual = self.pre_mlp_norm.add(x, residual)
        return self.post_mlp_norm(self.mlp(x)), residual


class Model(Decoder):
    """Gemma 3 text."""

    norm_offset = _NORM_OFFSET

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor) -> GemmaLayer:
        return GemmaLayer(weights, config, index, rope)

    def embedding_scale(self, config: ModelConfig) -> float:
        return float(config.hidden_size) ** 0.5

    def forward(self, step: Step) -> Tensor:
        logits = super().forward(step)
        cap = self.config.raw.get("final_logit_softcapping")
        return self.embed.ops.softcap(logits, cap) if cap else logits

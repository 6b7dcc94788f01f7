"""The transformer block that most decoders repeat: norms before attention and before the feed-forward block (Touvron et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import Attention, QkNorm
from octavo.layers.mlp import GatedMLP
from octavo.layers.norm import RMSNorm, make_norm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["ParallelBlock", "PostNormBlock", "PreNormBlock", "SandwichBlock"]


class PreNormBlock:
    """norm -> attention -> add -> norm -> feed-forward -> add; each add is fused with the norm that follows it.

    Args:
        rope: the layer's rotary table; None where positions are not rotated.
        qk_norm: norms on queries and keys, None without.
        attention: where it is not the usual one.
        mlp: the feed-forward block where it is not the usual gated one.
        norm_offset: what is added to the norms' weights.
        fused, fused_mlp: whether the file holds q, k and v as one matrix and gate and up as one; only the latter.
    """

    def __init__(
        self,
        weights: Weights,
        config: ModelConfig,
        index: int,
        rope: Tensor | None,
        *,
        qk_norm: QkNorm | None = None,
        attention: Callable[[Tensor, Step], Tensor] | None = None,
        mlp: Callable[[Tensor], Tensor] | None = None,
        norm_offset: float = 0.0,
        fused: bool = False,
        fused_mlp: bool = False,
    ) -> None:
        prefix = f"model.layers.{index}"
        self.ops = weights.ops
        self.residual_scale = config.residual_scale
        self.input_norm = make_norm(weights, config, f"{prefix}.input_layernorm", offset=norm_offset)
        self.attention = attention or _attention(weights, config, index, rope, qk_norm, fused)
        self.post_norm = make_norm(weights, config, f"{prefix}.post_attention_layernorm", offset=norm_offset)
        self.mlp = mlp or _mlp(weights, config, index, fused or fused_mlp)

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.input_norm.add(x, residual)
        x, residual = self.post_norm.add(self._scaled(self.attention(x, step)), residual)
        return self._scaled(self.mlp(x)), residual

    def _scaled(self, x: Tensor) -> Tensor:
        return x if self.residual_scale == 1.0 else self.ops.scale(x, self.residual_scale)


class ParallelBlock:
    """norm -> attention and feed-forward, side by side -> add (Wang & Komatsuzaki 2021, GPT-J). Arguments as of `PreNormBlock`.

    Args:
        mlp_norm: whether the feed-forward block has a norm of its own over the same rows, `post_attention_layernorm`.
    """

    def __init__(
        self,
        weights: Weights,
        config: ModelConfig,
        index: int,
        rope: Tensor | None,
        *,
        mlp: Callable[[Tensor], Tensor] | None = None,
        mlp_norm: bool = False,
        fused: bool = False,
    ) -> None:
        prefix = f"model.layers.{index}"
        self.ops = weights.ops
        self.norm = make_norm(weights, config, f"{prefix}.input_layernorm")
        self.mlp_norm = make_norm(weights, config, f"{prefix}.post_attention_layernorm") if mlp_norm else None
        self.attention = _attention(weights, config, index, rope, None, fused)
        self.mlp = mlp or _mlp(weights, config, index)

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.norm.add(x, residual)
        of_mlp = x if self.mlp_norm is None else self.mlp_norm(residual)
        return self.ops.add(self.attention(x, step), self.mlp(of_mlp)), residual


class SandwichBlock:
    """norm -> attention -> norm -> add -> norm -> feed-forward -> norm -> add (Gemma Team 2024). Arguments as of `PreNormBlock`."""

    def __init__(
        self,
        weights: Weights,
        config: ModelConfig,
        index: int,
        rope: Tensor | None,
        *,
        qk_norm: QkNorm | None = None,
        norm_offset: float = 0.0,
        fused_mlp: bool = False,
    ) -> None:
        def norm(name: str) -> RMSNorm:
            return RMSNorm(weights, f"model.layers.{index}.{name}", config.hidden_size, config.norm_eps, offset=norm_offset)

        self.input_norm = norm("input_layernorm")
        self.attention = _attention(weights, config, index, rope, qk_norm)
        self.post_attention_norm = norm("post_attention_layernorm")
        self.pre_mlp_norm = norm("pre_feedforward_layernorm")
        self.mlp = _mlp(weights, config, index, fused_mlp)
        self.post_mlp_norm = norm("post_feedforward_layernorm")

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.input_norm.add(x, residual)
        x = self.post_attention_norm(self.attention(x, step))
        x, residual = self.pre_mlp_norm.add(x, residual)
        return self.post_mlp_norm(self.mlp(x)), residual


class PostNormBlock:
    """attention -> norm -> add -> feed-forward -> norm -> add (OLMo Team 2024). Arguments as of `PreNormBlock`."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None, *, qk_norm: QkNorm | None = None) -> None:
        prefix, size, eps = f"model.layers.{index}", config.hidden_size, config.norm_eps
        self.ops = weights.ops
        self.attention = _attention(weights, config, index, rope, qk_norm)
        self.post_attention_norm = RMSNorm(weights, f"{prefix}.post_attention_layernorm", size, eps)
        self.mlp = _mlp(weights, config, index)
        self.post_mlp_norm = RMSNorm(weights, f"{prefix}.post_feedforward_layernorm", size, eps)

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x = x if residual is None else self.ops.add(x, residual)
        x = self.ops.add(self.post_attention_norm(self.attention(x, step)), x)
        return self.post_mlp_norm(self.mlp(x)), x


def _attention(
    weights: Weights, config: ModelConfig, index: int, rope: Tensor | None, qk_norm: QkNorm | None, fused: bool = False
) -> Attention:
    return Attention(
        weights,
        config,
        f"model.layers.{index}.self_attn",
        index,
        rope,
        qkv_bias=config.qkv_bias,
        out_bias=config.out_bias,
        qk_norm=qk_norm,
        softcap=config.attention_softcap,
        fused=fused,
    )


def _mlp(weights: Weights, config: ModelConfig, index: int, fused: bool = False) -> GatedMLP:
    prefix, sizes = f"model.layers.{index}.mlp", (config.hidden_size, config.intermediate_size)
    return GatedMLP(weights, prefix, *sizes, config.activation, bias=config.mlp_bias, fused=fused)

"""What encoders are made of (Vaswani et al. 2017; Devlin et al. 2018, "BERT"): embeddings with positions and types, post-norm blocks."""

from __future__ import annotations

from collections.abc import Callable

from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import Attention
from octavo.layers.mlp import GatedMLP, PlainMLP
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["EncoderBlock", "EncoderEmbedding", "GatedEncoderBlock", "encoder_attention", "encoder_mlp"]


class EncoderEmbedding:
    """[T, E]: rows of words, plus those of positions and of token types where there are such tables, normalised.

    Args:
        positions: whether there is a table of positions; `position_offset`: its rows before that of the first position.
    """

    def __init__(self, weights: Weights, config: ModelConfig, *, positions: bool = True, position_offset: int = 0) -> None:
        self.ops = weights.ops
        size = config.hidden_size
        self.words = weights.embedding("model.embed_tokens.weight", config.vocab_size, size)
        self.offset = position_offset
        self.positions = None
        if positions:
            num_rows = config.max_position_embeddings + position_offset
            self.positions = weights.embedding("model.embed_positions.weight", num_rows, size)
        self.types = weights.embedding("model.embed_types.weight", config.num_token_types, size) if config.num_token_types else None
        self.norm = make_norm(weights, config, "model.embed_norm")

    def __call__(self, step: Step) -> Tensor:
        ops = self.ops
        x = ops.embedding(step, self.words, 1.0)
        if self.positions is not None:
            x = ops.add(x, ops.position_embedding(step, self.positions, self.offset))
        if self.types is not None:
            x = ops.add(x, ops.lookup(ops.token_types(step), self.types))
        return self.norm(x)


class EncoderBlock:
    """attention -> add -> norm -> feed-forward -> add -> norm.

    Args:
        mlp: the feed-forward block where it is not the usual plain one.
        fused: whether the file holds q, k and v as one matrix.
    """

    def __init__(
        self,
        weights: Weights,
        config: ModelConfig,
        index: int,
        rope: Tensor | None,
        *,
        mlp: Callable[[Tensor], Tensor] | None = None,
        fused: bool = False,
    ) -> None:
        prefix = f"model.layers.{index}"
        self.attention = encoder_attention(weights, config, index, rope, fused=fused)
        self.attention_norm = make_norm(weights, config, f"{prefix}.post_attention_layernorm")
        self.mlp = mlp or encoder_mlp(weights, config, index)
        self.mlp_norm = make_norm(weights, config, f"{prefix}.post_feedforward_layernorm")

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        x, _ = self.attention_norm.add(self.attention(x, step), x)
        x, _ = self.mlp_norm.add(self.mlp(x), x)
        return x


class GatedEncoderBlock(EncoderBlock):
    """The same with a gated feed-forward block and fused projections. `down_bias`: whether its last matrix has a bias."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None, *, down_bias: bool = False) -> None:
        prefix, sizes = f"model.layers.{index}.mlp", (config.hidden_size, config.intermediate_size)
        mlp = GatedMLP(weights, prefix, *sizes, config.activation, down_bias=down_bias)
        super().__init__(weights, config, index, rope, mlp=mlp, fused=True)


def encoder_attention(weights: Weights, config: ModelConfig, index: int, rope: Tensor | None, *, fused: bool = False) -> Attention:
    """The attention of a layer."""
    prefix = f"model.layers.{index}.self_attn"
    return Attention(weights, config, prefix, index, rope, qkv_bias=config.qkv_bias, out_bias=config.out_bias, fused=fused)


def encoder_mlp(weights: Weights, config: ModelConfig, index: int) -> PlainMLP:
    """The plain feed-forward block of a layer."""
    prefix, sizes = f"model.layers.{index}.mlp", (config.hidden_size, config.intermediate_size)
    return PlainMLP(weights, f"{prefix}.up_proj", f"{prefix}.down_proj", *sizes, config.activation, bias=config.mlp_bias)

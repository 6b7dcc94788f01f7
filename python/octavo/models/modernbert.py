"""ModernBERT (Warner et al. 2024): norms before the blocks, rotary positions, gated feed-forward, two local layers to a global one."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.encoder_config import encoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.checkpoint.rope_config import rope_config
from octavo.layers.encoder import EncoderEmbedding, encoder_attention
from octavo.layers.linear import Linear
from octavo.layers.mlp import GatedMLP, PlainMLP
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.models._encoder import Encoder
from octavo.models._heads import Head
from octavo.ops.ops import Step, Tensor

__all__ = ["STORED_NAMES", "Model"]

_PARTS = {
    "attn.Wqkv": "self_attn.qkv_proj",
    "attn.Wo": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm",
    "mlp.Wi": "mlp.gate_up_proj",
    "mlp.Wo": "mlp.down_proj",
}
_TOP = {
    r"(?:model\.)?embeddings\.tok_embeddings": "model.embed_tokens",
    r"(?:model\.)?embeddings\.norm": "model.embed_norm",
    r"(?:model\.)?final_norm": "model.norm",
}
STORED_NAMES = StoredNames(name_patterns(r"model\.layers", _PARTS, _TOP))
_KINDS = ("full_attention", "sliding_attention")


class Model(Encoder):
    """ModernBERT."""

    defaults: ClassVar = {
        "vocab_size": 50368,
        "hidden_size": 768,
        "intermediate_size": 1152,
        "num_hidden_layers": 22,
        "num_attention_heads": 12,
        "hidden_activation": "gelu",
        "max_position_embeddings": 8192,
        "norm_eps": 1e-5,
        "rope_theta": 160000.0,
        "local_attention": 128,
    }
    aliases: ClassVar = {"rope_theta": "global_rope_theta"}
    unused: ClassVar = (*Encoder.unused, "decoder.")

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        num_layers = keys.count("num_hidden_layers", most=4096)
        every, local = keys.count("global_attn_every_n_layers", 3), keys.count("local_attention", least=2)
        kinds = [_KINDS[layer % every != 0] for layer in range(num_layers)]
        if "layer_types" in keys:
            kinds = keys.texts("layer_types")
            if len(kinds) != num_layers or not set(kinds) <= set(_KINDS):
                raise keys.refused("layer_types", f"{num_layers} of {' and '.join(_KINDS)} are needed")
        head_dim = keys.count("hidden_size") // keys.count("num_attention_heads")
        theta = keys.positive("local_rope_theta", 10000.0)
        ropes = {kind: rope_config(keys, kind, head_dim, local_theta=theta) for kind in dict.fromkeys(kinds)}
        attention_bias, mlp_bias = keys.flag("attention_bias", False), keys.flag("mlp_bias", False)
        return encoder_config(
            keys,
            norm_eps=keys.positive("norm_eps"),
            activation=keys.text("hidden_activation"),
            norm="layer" if keys.flag("norm_bias", False) else "layer_unbiased",
            windows=tuple(local // 2 + 1 if kind == _KINDS[1] else None for kind in kinds),
            ropes=tuple(ropes[kind] for kind in kinds),
            qkv_bias=attention_bias,
            out_bias=attention_bias,
            mlp_bias=mlp_bias,
            classifier_bias=keys.flag("classifier_bias", False),
            classifier_activation=keys.text("classifier_activation", "gelu"),
        )

    def __init__(self, weights: Weights, config: ModelConfig, num_positions: int) -> None:
        super().__init__(weights, config, num_positions)
        self.norm = make_norm(weights, config, "model.norm")

    def make_embedding(self, weights: Weights, config: ModelConfig) -> EncoderEmbedding:
        return EncoderEmbedding(weights, config, positions=False)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> _Block:
        return _Block(weights, config, index, rope)

    def make_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        return _Head(weights, config, num_labels)

    def make_token_classifier(self, weights: Weights, config: ModelConfig, num_labels: int) -> Head:
        return _Head(weights, config, num_labels)

    def hidden(self, step: Step) -> Tensor:
        return self.norm(super().hidden(step))


class _Block:
    """norm -> attention -> add -> norm -> feed-forward -> add; the first block has no norm before attention."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> None:
        prefix = f"model.layers.{index}"
        self.ops = weights.ops
        self.input_norm = make_norm(weights, config, f"{prefix}.input_layernorm") if index else None
        self.attention = encoder_attention(weights, config, index, rope, fused=True)
        self.mlp_norm = make_norm(weights, config, f"{prefix}.post_attention_layernorm")
        sizes = (config.hidden_size, config.intermediate_size)
        self.mlp = GatedMLP(weights, f"{prefix}.mlp", *sizes, config.activation, bias=config.mlp_bias, fused=True)

    def __call__(self, x: Tensor, step: Step) -> Tensor:
        normed = x if self.input_norm is None else self.input_norm(x)
        normed, x = self.mlp_norm.add(self.attention(normed, step), x)
        return self.ops.add(self.mlp(normed), x)


class _Head:
    """classifier(norm(act(dense(x))))."""

    def __init__(self, weights: Weights, config: ModelConfig, num_labels: int) -> None:
        self.dense = Linear(weights, {"head.dense": config.hidden_size}, config.hidden_size, bias=config.classifier_bias)
        self.activate = PlainMLP.activation(weights, config.classifier_activation, "classifier_activation")
        self.norm = make_norm(weights, config, "head.norm")
        self.out = Linear(weights, {"classifier": num_labels}, config.hidden_size, bias=True)

    def __call__(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.activate(self.dense(x))))

"""Whisper (Radford et al. 2022): speech to text; a decoder whose layers also attend to what an encoder made of 30 seconds of sound."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.attention import Attention
from octavo.layers.cross_attention import CrossAttention
from octavo.layers.embedding import PositionedEmbedding
from octavo.layers.mlp import plain_mlp
from octavo.layers.norm import make_norm
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Step, Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"model\.decoder\.layers",
        {
            "self_attn.out_proj": "self_attn.o_proj",
            "encoder_attn.out_proj": "cross_attn.o_proj",
            "encoder_attn.q_proj": "cross_attn.q_proj",
            "self_attn_layer_norm": "input_layernorm",
            "encoder_attn_layer_norm": "cross_attention_layernorm",
            "final_layer_norm": "post_attention_layernorm",
            "fc1": "mlp.fc1",
            "fc2": "mlp.fc2",
        },
        {
            r"model\.decoder\.embed_tokens": "model.embed_tokens",
            r"model\.decoder\.embed_positions": "model.embed_positions",
            r"model\.decoder\.layer_norm": "model.norm",
            "proj_out": "lm_head",
        },
    ),
    tower=r"model\.(?:encoder\..*|decoder\.layers\.\d+\.encoder_attn\.[kv]_proj\..*)",
)


class _Block:
    """norm -> attention -> add -> norm -> cross attention -> add -> norm -> feed-forward -> add."""

    def __init__(self, weights: Weights, config: ModelConfig, index: int) -> None:
        prefix = f"model.layers.{index}"
        self.input_norm = make_norm(weights, config, f"{prefix}.input_layernorm")
        self.attention = Attention(weights, config, f"{prefix}.self_attn", index, None, qkv_bias=True, k_bias=False, out_bias=True)
        self.cross_norm = make_norm(weights, config, f"{prefix}.cross_attention_layernorm")
        self.cross = CrossAttention(weights, config, f"{prefix}.cross_attn")
        self.post_norm = make_norm(weights, config, f"{prefix}.post_attention_layernorm")
        self.mlp = plain_mlp(weights, config, index, up="fc1", down="fc2")

    def __call__(self, x: Tensor, residual: Tensor | None, step: Step) -> tuple[Tensor, Tensor]:
        x, residual = self.input_norm.add(x, residual)
        x, residual = self.cross_norm.add(self.attention(x, step), residual)
        x, residual = self.post_norm.add(self.cross(x, step), residual)
        return self.mlp(x), residual


class Model(Decoder):
    """Whisper's decoder. Its encoder is `towers/whisper.py`."""

    makes: ClassVar = "text of speech"
    defaults: ClassVar = {
        "vocab_size": 51865,
        "d_model": 384,
        "decoder_layers": 4,
        "decoder_attention_heads": 6,
        "decoder_ffn_dim": 1536,
        "activation_function": "gelu",
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "scale_embedding": False,
        "tie_word_embeddings": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        num_layers, heads = keys.count("decoder_layers", most=4096), keys.count("decoder_attention_heads", most=8192)
        hidden_size = keys.count("d_model")
        if hidden_size % heads:
            raise keys.refused("decoder_attention_heads", f"d_model, {hidden_size}, must be a multiple of it")
        head_dim = hidden_size // heads
        return ModelConfig(
            model_type=keys.text("model_type"),
            vocab_size=keys.count("vocab_size"),
            hidden_size=hidden_size,
            intermediate_size=keys.count("decoder_ffn_dim"),
            num_layers=num_layers,
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=head_dim,
            max_position_embeddings=keys.count("max_target_positions"),
            norm_eps=1e-5,
            tie_word_embeddings=keys.flag("tie_word_embeddings"),
            attention_scale=float(head_dim) ** -0.5,
            windows=(None,) * num_layers,
            ropes=(None,) * num_layers,
            activation=keys.text("activation_function"),
            norm="layer",
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
            embedding_scale=float(hidden_size) ** 0.5 if keys.flag("scale_embedding") else 1.0,
            source_positions=keys.count("max_source_positions"),
        )

    def make_embedding(self, weights: Weights, config: ModelConfig) -> PositionedEmbedding:
        return PositionedEmbedding(weights, config)

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> _Block:
        return _Block(weights, config, index)

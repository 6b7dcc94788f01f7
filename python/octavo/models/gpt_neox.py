"""GPT-NeoX 20B and Pythia (Black et al. 2022; Biderman et al. 2023): layer norms, side by side, a quarter of each head rotated."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import ParallelBlock, PreNormBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"gpt_neox\.layers",
        {"attention.query_key_value": "self_attn.qkv_proj", "attention.dense": "self_attn.o_proj"},
        {r"gpt_neox\.embed_in": "model.embed_tokens", r"gpt_neox\.final_layer_norm": "model.norm", "embed_out": "lm_head"},
    ),
    grouped_qkv=True,
)


class Model(Decoder):
    """GPT-NeoX."""

    defaults: ClassVar = {
        "vocab_size": 50432,
        "hidden_size": 6144,
        "intermediate_size": 24576,
        "num_hidden_layers": 44,
        "num_attention_heads": 64,
        "hidden_act": "gelu",
        "max_position_embeddings": 2048,
        "layer_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "partial_rotary_factor": 0.25,
        "attention_bias": True,
        "use_parallel_residual": True,
    }
    aliases: ClassVar = {"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            partial_rotary=True,
            eps_key="layer_norm_eps",
            norm="layer",
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=True,
            parallel_norms=2 if keys.flag("use_parallel_residual") else 0,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> ParallelBlock | PreNormBlock:
        mlp = plain_mlp(weights, config, index, up="dense_h_to_4h", down="dense_4h_to_h")
        if config.parallel_norms:
            return ParallelBlock(weights, config, index, rope, mlp=mlp, mlp_norm=True, fused=True)
        return PreNormBlock(weights, config, index, rope, mlp=mlp, fused=True)

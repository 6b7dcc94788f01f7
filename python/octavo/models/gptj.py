"""GPT-J 6B (Wang & Komatsuzaki 2021): attention and feed-forward side by side under one norm, the first columns of each head rotated."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig, RopeConfig
from octavo.layers.block import ParallelBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"transformer\.h",
        {
            "attn.q_proj": "self_attn.q_proj",
            "attn.k_proj": "self_attn.k_proj",
            "attn.v_proj": "self_attn.v_proj",
            "attn.out_proj": "self_attn.o_proj",
            "ln_1": "input_layernorm",
        },
        {r"transformer\.wte": "model.embed_tokens", r"transformer\.ln_f": "model.norm"},
    ),
    paired_rows=True,
)


class Model(Decoder):
    """GPT-J."""

    defaults: ClassVar = {
        "vocab_size": 50400,
        "hidden_size": 4096,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "activation_function": "gelu_new",
        "max_position_embeddings": 2048,
        "layer_norm_epsilon": 1e-05,
        "tie_word_embeddings": False,
        "rotary_dim": 64,
    }
    aliases: ClassVar = {
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "max_position_embeddings": "n_positions",
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        hidden_size = keys.count("hidden_size")
        rotary_dim = keys.count("rotary_dim", most=hidden_size // keys.count("num_attention_heads"))
        if rotary_dim % 2:
            raise keys.refused("rotary_dim", "columns are rotated in pairs")
        return decoder_config(
            keys,
            intermediate_size=keys.optional_count("n_inner") or 4 * hidden_size,
            eps_key="layer_norm_epsilon",
            activation_key="activation_function",
            norm="layer",
            ropes=(RopeConfig(10000.0, rotary_dim),) * keys.count("num_hidden_layers", most=4096),
            mlp_bias=True,
            head_bias=True,
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> ParallelBlock:
        return ParallelBlock(weights, config, index, rope, mlp=plain_mlp(weights, config, index, up="fc_in", down="fc_out"))

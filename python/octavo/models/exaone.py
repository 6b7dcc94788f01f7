"""EXAONE 3 and 3.5 (LG AI Research 2024): Llama under names of its own."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import StoredNames, name_patterns
from octavo.checkpoint.model_config import ModelConfig
from octavo.models._decoder import Decoder

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(
    name_patterns(
        r"transformer\.h",
        {
            "attn.attention.q_proj": "self_attn.q_proj",
            "attn.attention.k_proj": "self_attn.k_proj",
            "attn.attention.v_proj": "self_attn.v_proj",
            "attn.attention.out_proj": "self_attn.o_proj",
            "ln_1": "input_layernorm",
            "ln_2": "post_attention_layernorm",
            "mlp.c_fc_0": "mlp.gate_proj",
            "mlp.c_fc_1": "mlp.up_proj",
            "mlp.c_proj": "mlp.down_proj",
        },
        {r"transformer\.wte": "model.embed_tokens", r"transformer\.ln_f": "model.norm"},
    )
)


class Model(Decoder):
    """EXAONE."""

    defaults: ClassVar = {
        "vocab_size": 102400,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "hidden_act": "silu",
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
        "rope_theta": 500000.0,
    }
    aliases: ClassVar = {"num_hidden_layers": "num_layers", "rms_norm_eps": "layer_norm_epsilon", "hidden_act": "activation_function"}

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(keys, qkv_bias=bias, out_bias=bias, mlp_bias=keys.flag("mlp_bias"))

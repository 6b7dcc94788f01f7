"""StarCoder 2 (Lozhkov et al. 2024): layer norms and a plain feed-forward block, biases everywhere."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import BLOCK_NAMES, GgufFamily
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import PreNormBlock
from octavo.layers.mlp import plain_mlp
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "Model"]


class Model(Decoder):
    """StarCoder 2."""

    defaults: ClassVar = {
        "vocab_size": 49152,
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_hidden_layers": 30,
        "num_attention_heads": 24,
        "num_key_value_heads": 2,
        "hidden_act": "gelu_pytorch_tanh",
        "max_position_embeddings": 4096,
        "norm_epsilon": 1e-05,
        "tie_word_embeddings": True,
        "use_bias": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("use_bias")
        keys.flag("attention_bias")  # in GGUF files only, where `use_bias` says the same
        return decoder_config(
            keys, slides=lambda layer: True, eps_key="norm_epsilon", norm="layer", qkv_bias=bias, out_bias=bias, mlp_bias=bias
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        return PreNormBlock(weights, config, index, rope, mlp=plain_mlp(weights, config, index, up="c_fc", down="c_proj"))


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    window = keys.optional_count("attention.sliding_window", least=0) or None
    return {"norm_epsilon": config["rms_norm_eps"], "use_bias": config["attention_bias"], "sliding_window": window}


GGUF = GgufFamily("starcoder2", "starcoder2", _gguf_config, BLOCK_NAMES | {"ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"})

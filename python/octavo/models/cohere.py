"""Command R (Cohere 2024): attention and feed-forward block side by side, layer norms without biases, scaled logits."""

from __future__ import annotations

from typing import Any, ClassVar

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.decoder_config import decoder_config
from octavo.checkpoint.family_files import GgufFamily, StoredNames
from octavo.checkpoint.model_config import ModelConfig
from octavo.layers.block import ParallelBlock
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["GGUF", "STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(paired_rows=True)


class Model(Decoder):
    """Command R."""

    defaults: ClassVar = {
        "vocab_size": 256000,
        "hidden_size": 8192,
        "intermediate_size": 22528,
        "num_hidden_layers": 40,
        "num_attention_heads": 64,
        "num_key_value_heads": 64,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "layer_norm_eps": 1e-05,
        "tie_word_embeddings": True,
        "rope_theta": 500000.0,
        "logit_scale": 0.0625,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias = keys.flag("attention_bias")
        return decoder_config(
            keys,
            eps_key="layer_norm_eps",
            norm="layer_unbiased",
            qkv_bias=bias,
            out_bias=bias,
            logits_scale=keys.positive("logit_scale"),
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> ParallelBlock:
        return ParallelBlock(weights, config, index, rope)


def _gguf_config(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    return {"layer_norm_eps": config["rms_norm_eps"], "logit_scale": keys.positive("logit_scale")}


GGUF = GgufFamily("command-r", "cohere", _gguf_config, paired_rows=True)

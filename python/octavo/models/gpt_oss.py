"""gpt-oss (OpenAI 2025): attention sinks, every other layer local, experts with biases and a clamped activation."""

from __future__ import annotations

from typing import ClassVar

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.decoder_config import decoder_config, moe_config
from octavo.checkpoint.expert_names import StackColumns
from octavo.checkpoint.family_files import StoredNames
from octavo.checkpoint.model_config import ModelConfig, Routing
from octavo.layers.attention import Attention
from octavo.layers.block import PreNormBlock
from octavo.layers.linear import Linear
from octavo.layers.weights import Weights
from octavo.models._decoder import Decoder
from octavo.ops.ops import Tensor

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = StoredNames(((r"(.*)\.mlp\.router\.(.*)", r"\1.mlp.gate.\2"),), expert_columns=StackColumns.ALTERNATING)


class _Experts:
    """sum of weight * expert(x), the activation kept within a limit, biases everywhere."""

    def __init__(self, weights: Weights, config: ModelConfig, prefix: str) -> None:
        moe = config.moe
        assert moe is not None
        self.ops, self.moe, self.swiglu = weights.ops, moe, config.swiglu
        self.router = Linear(weights, {f"{prefix}.gate": moe.num_experts}, config.hidden_size, bias=True)
        self.experts = weights.experts(f"{prefix}.experts", moe.num_experts, config.hidden_size, moe.expert_size)
        self.biases = (
            weights.constant(weights.values(f"{prefix}.experts.gate_up_proj_bias", (moe.num_experts, 2 * moe.expert_size))),
            weights.constant(weights.values(f"{prefix}.experts.down_proj_bias", (moe.num_experts, config.hidden_size))),
        )

    def __call__(self, x: Tensor) -> Tensor:
        ids, weights = self.ops.route(self.router(x), None, top_k=self.moe.top_k, routing=self.moe.routing)
        alpha, limit = self.swiglu
        return self.ops.experts(x, ids, weights, self.experts, activation="clamped_swiglu", biases=self.biases, alpha=alpha, limit=limit)


class Model(Decoder):
    """gpt-oss."""

    defaults: ClassVar = {
        "vocab_size": 201088,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": 36,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "hidden_act": "silu",
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "rope_theta": 150000.0,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "tie_word_embeddings": False,
        "sliding_window": 128,
        "num_experts": 128,
        "num_experts_per_tok": 4,
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
        "attention_bias": True,
    }

    @classmethod
    def read_config(cls, keys: ConfigKeys) -> ModelConfig:
        bias, quantization = keys.flag("attention_bias"), keys.section("quantization_config")
        if "quant_method" in quantization and quantization.text("quant_method") != "mxfp4":
            raise quantization.refused("quant_method", "experts in mxfp4 are read, or plain values")
        return decoder_config(
            keys,
            slides=lambda layer: layer % 2 == 0,
            qkv_bias=bias,
            out_bias=bias,
            swiglu=(keys.positive("swiglu_alpha"), keys.positive("swiglu_limit")),
            moe=moe_config(keys, Routing(renormalise=True)),
        )

    def make_layer(self, weights: Weights, config: ModelConfig, index: int, rope: Tensor | None) -> PreNormBlock:
        prefix = f"model.layers.{index}"
        attention = Attention(
            weights, config, f"{prefix}.self_attn", index, rope, qkv_bias=config.qkv_bias, out_bias=config.out_bias, sinks=True
        )
        return PreNormBlock(weights, config, index, rope, attention=attention, mlp=_Experts(weights, config, f"{prefix}.mlp"))

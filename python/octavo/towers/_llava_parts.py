"""What all towers of LLaVA's kind share: how many of their blocks make features, and the projector into the decoder's space."""

from __future__ import annotations

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.mlp import PlainMLP
from octavo.layers.weights import Weights

__all__ = ["make_projector", "num_feature_blocks"]


def num_feature_blocks(config: ConfigKeys, num_layers: int) -> int:
    """How many blocks make the features: `vision_feature_layer` counts the input of each block, and the last one's output."""
    layer = config.value("vision_feature_layer", -2)
    if isinstance(layer, bool) or not isinstance(layer, int) or not -num_layers - 1 <= layer <= num_layers:
        raise config.refused("vision_feature_layer", f"a whole number of {-num_layers - 1} to {num_layers} is needed")
    return layer if layer >= 0 else num_layers + 1 + layer


def make_projector(weights: Weights, config: ConfigKeys, vision_size: int) -> PlainMLP:
    """Two linear layers, from a tower's hidden size to the decoder's."""
    text_size = config.section("text_config", {"hidden_size": 4096}).count("hidden_size")
    return PlainMLP(
        weights,
        "multi_modal_projector.linear_1",
        "multi_modal_projector.linear_2",
        vision_size,
        text_size,
        config.name("projector_hidden_act", "gelu"),
        bias=config.flag("multimodal_projector_bias", True),
        out_size=text_size,
    )

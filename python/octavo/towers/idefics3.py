"""The tower of Idefics3 and SmolVLM (Laurençon et al. 2024): SigLIP, then squares of patches side by side through one linear layer."""

from __future__ import annotations

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.linear import Linear
from octavo.layers.norm import LayerNorm
from octavo.layers.vision import PatchEmbedding, VisionBlock, VisionSizes
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor

__all__ = ["Tower"]

_DEFAULTS = {
    "hidden_size": 1152,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 32,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu_pytorch_tanh",
}


class Tower:
    """Implements `towers.Tower`."""

    tile_windows = 1

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        sizes = VisionSizes.read(config.section("vision_config", _DEFAULTS))
        self.embed = PatchEmbedding(weights, "vision_model.embeddings", sizes, bias=True, class_token=False)
        self.blocks = [VisionBlock(weights, f"vision_model.encoder.layers.{index}", sizes) for index in range(sizes.num_layers)]
        self.norm = LayerNorm(weights, "vision_model.post_layernorm", sizes.hidden_size, sizes.norm_eps)
        self.tile_patches, self.unused = sizes.grid**2, ()
        self.num_side_by_side = config.count("scale_factor", 2) ** 2
        text_size = config.section("text_config", {"hidden_size": 4096}).count("hidden_size")
        in_size = sizes.hidden_size * self.num_side_by_side
        self.projection = Linear(weights, {"connector.modality_projection.proj": text_size}, in_size)

    def forward(self, step: Step) -> Tensor:
        """See `towers.Tower.forward`."""
        x = self.embed(self.ops.patches(step, self.embed.num_values), step)
        for block in self.blocks:
            x = block(x, step)
        return self.projection(self.ops.gather_rows(self.norm(x), self.ops.selected(step, self.num_side_by_side)))

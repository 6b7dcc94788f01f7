"""LLaVA 1.5's tower (Liu et al. 2023): CLIP or SigLIP up to a layer before the last, then two linear layers into the decoder's space."""

from __future__ import annotations

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.layers.norm import LayerNorm
from octavo.layers.vision import PatchEmbedding, VisionBlock, VisionSizes
from octavo.layers.weights import Weights
from octavo.ops.ops import Step, Tensor
from octavo.towers._llava_parts import make_projector, num_feature_blocks

__all__ = ["Tower"]

_SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu_pytorch_tanh",
}
_CLIP = _SIGLIP | {"patch_size": 32, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"}
_KINDS = {"clip_vision_model": _CLIP, "siglip_vision_model": _SIGLIP}


class Tower:
    """Implements `towers.Tower`."""

    tile_windows = 1

    def __init__(self, weights: Weights, config: ConfigKeys) -> None:
        self.ops = weights.ops
        kind = config.section("vision_config").name("model_type", "clip_vision_model")
        if kind not in _KINDS:
            raise config.section("vision_config").refused("model_type", f"known are {', '.join(_KINDS)}")
        sizes = VisionSizes.read(config.section("vision_config", _KINDS[kind]))
        is_clip = kind == "clip_vision_model"
        self.embed = PatchEmbedding(weights, "vision_tower.embeddings", sizes, bias=not is_clip, class_token=is_clip)
        self.pre_norm = LayerNorm(weights, "vision_tower.pre_layrnorm", sizes.hidden_size, sizes.norm_eps) if is_clip else None
        self.blocks = [
            VisionBlock(weights, f"vision_tower.encoder.layers.{index}", sizes)
            for index in range(num_feature_blocks(config, sizes.num_layers))
        ]
        self.tile_patches = sizes.grid**2 + is_clip
        later = (f"vision_tower.encoder.layers.{index}." for index in range(len(self.blocks), sizes.num_layers))
        self.unused = ("vision_tower.post_layernorm.", "vision_tower.head.", *later)
        self.projector = make_projector(weights, config, sizes.hidden_size)

    def forward(self, step: Step) -> Tensor:
        """See `towers.Tower.forward`."""
        x = self.embed(self.ops.patches(step, self.embed.num_values), step)
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x, step)
        return self.projector(self.ops.gather_rows(x, self.ops.selected(step, 1)))

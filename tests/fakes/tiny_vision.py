"""Tiny random models of text and pictures, with a tokenizer and a chat template, made by transformers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["TEXT_TYPES", "VISION_MODELS", "TinyVision", "make_tiny_vision", "noise"]

_SPECIAL = ["<|bos|>", "<|eos|>", "<image>", "<fake_token_around_image>", "<global-img>"]
_SPECIAL += ["[IMG]", "[IMG_BREAK]", "[IMG_END]"]
_SPECIAL += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_SPECIAL += [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
_IMAGE_TOKEN = 256 + _SPECIAL.index("<image>")
_TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}]{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
_TEXT = {
    "vocab_size": 288,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 256,
    "eos_token_id": 257,
}
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "image_size": 28, "patch_size": 7}

TEXT_TYPES = ("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text")
"""Decoders that come with towers only, and are tested with them."""


@dataclass(frozen=True, slots=True)
class TinyVision:
    """A model's folder, and transformers' model and image processor that it was made with."""

    folder: Path
    model: Any
    processor: Any

    def inputs(self, pictures: list[np.ndarray]) -> dict[str, Any]:
        """What transformers' model reads of a prompt's pictures."""
        import torch
        from PIL import Image

        images = [Image.fromarray(picture) for picture in pictures]
        nested = type(self.processor).__name__.startswith(("Idefics3", "SmolVLM"))
        made = self.processor([images] if nested else images, return_tensors="np")
        return {
            name: torch.from_numpy(np.asarray(made[name])) for name in ("pixel_values", "image_sizes", "image_grid_thw") if name in made
        }


def _llava(tower: str) -> tuple[Any, Any]:
    import transformers

    vision = {"clip": transformers.CLIPVisionConfig, "siglip": transformers.SiglipVisionConfig}[tower](**_VISION, num_hidden_layers=3)
    config = transformers.LlavaConfig(
        vision_config=vision,
        text_config=transformers.LlamaConfig(**_TEXT),
        image_token_index=_IMAGE_TOKEN,
        vision_feature_select_strategy="default" if tower == "clip" else "full",
    )
    processor = transformers.LlavaImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return transformers.LlavaForConditionalGeneration(config), processor


def _idefics3(name: str) -> tuple[Any, Any]:
    import transformers

    config = getattr(transformers, f"{name}Config")(
        vision_config=getattr(transformers, f"{name}VisionConfig")(**_VISION, num_hidden_layers=2),
        text_config=transformers.LlamaConfig(**_TEXT),
        image_token_id=_IMAGE_TOKEN,
        scale_factor=2,
    )
    make = getattr(transformers, f"{name}ImageProcessorPil")
    processor = make(size={"longest_edge": 84}, max_image_size={"longest_edge": 28})
    return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor


def _pixtral() -> tuple[Any, Any]:
    import transformers

    config = transformers.LlavaConfig(
        vision_config=transformers.PixtralVisionConfig(**{**_VISION, "image_size": 56}, num_hidden_layers=2),
        text_config=transformers.MistralConfig(**_TEXT),
        image_token_index=256 + _SPECIAL.index("[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    processor = transformers.PixtralImageProcessorPil(size={"longest_edge": 56}, patch_size={"height": 7, "width": 7})
    return transformers.LlavaForConditionalGeneration(config), processor


_QWEN_VISION: dict[str, Any] = {"depth": 3, "num_heads": 2, "patch_size": 7, "temporal_patch_size": 2, "spatial_merge_size": 2}
_QWEN_KINDS: dict[str, dict[str, Any]] = {
    "Qwen2VL": {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2},
    "Qwen2_5_VL": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": 64,
        "window_size": 28,
        "fullatt_block_indexes": [1],
    },
    "Qwen3VL": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "out_hidden_size": 64,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 2],
    },
}


def _qwen(name: str) -> tuple[Any, Any]:
    import transformers

    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    text = {**_TEXT, "num_hidden_layers": 3, "head_dim": 16, "rope_parameters": rope}
    if name != "Qwen3VL":
        del text["head_dim"]
    tokens = {kind: 256 + _SPECIAL.index(f"<|{word}|>") for kind, word in _QWEN_TOKENS.items()}
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config={**_QWEN_VISION, **_QWEN_KINDS[name]}, **tokens)
    processor = transformers.Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 70 * 70}, patch_size=7)
    return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor


_QWEN_TOKENS = {
    "image_token_id": "image_pad",
    "video_token_id": "video_pad",
    "vision_start_token_id": "vision_start",
    "vision_end_token_id": "vision_end",
}

VISION_MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava-clip": lambda: _llava("clip"),
    "llava-siglip": lambda: _llava("siglip"),
    "idefics3": lambda: _idefics3("Idefics3"),
    "pixtral": _pixtral,
    "qwen2_vl": lambda: _qwen("Qwen2VL"),
    "qwen2_5_vl": lambda: _qwen("Qwen2_5_VL"),
    "qwen3_vl": lambda: _qwen("Qwen3VL"),
    "smolvlm": lambda: _idefics3("SmolVLM"),
}


def make_tiny_vision(name: str, folder: Path) -> TinyVision:
    """Make one of `VISION_MODELS`; no bias or norm of it is neutral."""
    import torch

    torch.manual_seed(0)
    model, processor = VISION_MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    shown = {"pixtral": "[IMG]"} | dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), "<|vision_start|><|image_pad|><|vision_end|>")
    _write_tokenizer(folder, shown.get(name, "<image>"))
    return TinyVision(folder, model, processor)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture, uint8 [height, width, 3], of noise, so that no resampling is forgiving."""
    return np.random.default_rng([height, width, seed]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _write_tokenizer(folder: Path, shown: str) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    tokenizer = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": _SPECIAL[0],
        "eos_token": _SPECIAL[1],
        "chat_template": _TEMPLATE.replace("<image>", shown),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

"""A tiny random Whisper with a tokenizer that has the real one's special tokens, made by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LANGUAGES", "make_tiny_whisper", "tone"]

LANGUAGES = ["en", "de", "fr"]
_NUM_TIMES = 1501  # 0.00 .. 30.00 seconds
_SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
    *(f"<|{index * 0.02:.2f}|>" for index in range(_NUM_TIMES)),
]
_IDS = {token: 256 + index for index, token in enumerate(_SPECIAL)}


def make_tiny_whisper(folder: Path, **settings: Any) -> Any:
    """Write the model's folder and return transformers' model; no bias or norm of it is neutral."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        **{
            "vocab_size": 256 + len(_SPECIAL),
            "num_mel_bins": 80,
            "d_model": 64,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 96,
            "decoder_layers": 3,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 80,
            "max_target_positions": 128,
            "decoder_start_token_id": _IDS["<|startoftranscript|>"],
            "bos_token_id": _IDS["<|endoftext|>"],
            "eos_token_id": _IDS["<|endoftext|>"],
            "pad_token_id": _IDS["<|endoftext|>"],
            "init_std": 0.2,
            **settings,
        }
    )
    model = transformers.WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.generation_config = transformers.GenerationConfig(
        alignment_heads=[[0, 0]],
        begin_suppress_tokens=[32, _IDS["<|endoftext|>"]],
        decoder_start_token_id=_IDS["<|startoftranscript|>"],
        eos_token_id=_IDS["<|endoftext|>"],
        bos_token_id=_IDS["<|endoftext|>"],
        pad_token_id=_IDS["<|endoftext|>"],
        is_multilingual=True,
        lang_to_id={f"<|{language}|>": _IDS[f"<|{language}|>"] for language in LANGUAGES},
        task_to_id={"transcribe": _IDS["<|transcribe|>"], "translate": _IDS["<|translate|>"]},
        no_timestamps_token_id=_IDS["<|notimestamps|>"],
        max_initial_timestamp_index=50,
        max_length=config.max_target_positions,
        suppress_tokens=[1, 2, _IDS["<|startofprev|>"], _IDS["<|startoftranscript|>"]],
    )
    model.eval().save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    _write_tokenizer(folder)
    return model


def tone(seconds: float, rate: int = 16000, seed: int = 0) -> np.ndarray:
    """Noise and sliding tones, float32 [samples], so that no two moments sound alike."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time)) * 0.05
    return (0.3 * np.sin(2 * np.pi * (200 + 40 * time) * time) + 0.2 * np.sin(np.pi * 3000 * time) + noise).astype(np.float32)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    tokenizer = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": _SPECIAL[0], "eos_token": _SPECIAL[0]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

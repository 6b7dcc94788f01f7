"""Folders of tiny BERTs: a configuration and a WordPiece tokenizer of letters. Weights are made up where they are loaded ("dummy")."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["CLS", "SEP", "write_encoder"]

CLS, SEP = 1, 2
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?-"
_CONFIG = {
    "model_type": "bert",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "torch_dtype": "float32",
}


def write_encoder(folder: Path, head: str = "BertModel", **config: object) -> Path:
    """Write a folder to be loaded with `load_format="dummy"`; returns it. Every letter of a word is a token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    (folder / "config.json").write_text(json.dumps({**_CONFIG, "architectures": [head], **config}))
    vocabulary = {token: index for index, token in enumerate((*_SPECIAL, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder

"""XLM-RoBERTa (Conneau et al. 2019), multilingual E5, BGE-M3 and their rerankers: RoBERTa over 100 languages."""

from __future__ import annotations

from typing import ClassVar

from octavo.models import bert, roberta

__all__ = ["STORED_NAMES", "Model"]

STORED_NAMES = bert.STORED_NAMES


class Model(roberta.Model):
    """XLM-RoBERTa."""

    defaults: ClassVar = {**roberta.Model.defaults, "vocab_size": 30522}

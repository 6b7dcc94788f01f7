"""What a checkpoint is for, by the class that its config.json names."""

from __future__ import annotations

import pytest

from octavo.checkpoint.pooling_config import task_of


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("LlamaForCausalLM", "generate"),
        ("GPT2LMHeadModel", "generate"),
        ("Qwen3Model", "embed"),
        ("Qwen3ForSequenceClassification", "classify"),
        ("BertForTokenClassification", "token_classify"),
    ],
)
def test_the_class_says_what_a_model_is_for(name, task):
    assert task_of({"architectures": [name]}, None, is_encoder=False) == task

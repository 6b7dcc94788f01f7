"""`octavo models` lists every family, and what it says of tests is so."""

from __future__ import annotations

import test_architectures
import test_encoders
import test_gguf_families
import test_remote_families
import test_state_models
import transformers

from fakes import tiny_vision
from octavo.cli.main import main
from octavo.models import families


def test_every_family_is_tested_as_the_list_says():
    cases = [*test_architectures.CASES.values(), *test_encoders.CASES.values()]
    tested = {getattr(transformers, class_name).model_type.replace("-", "_") for class_name, _ in cases}
    tested |= set(tiny_vision.TEXT_TYPES)
    tested |= {model_type for model_type, _ in test_state_models.CASES.values()}
    tested.add("whisper")  # test_whisper.py
    stand_ins = {make.__name__ for make in test_remote_families.CASES}
    assert {each.model_type for each in families() if each.reference == "transformers"} == tested
    assert {each.model_type for each in families() if each.reference != "transformers"} == stand_ins
    assert {each.gguf for each in families() if each.gguf} == set(test_gguf_families.FAMILIES)


def test_the_command_prints_a_line_for_each(capsys):
    assert main(["models"]) == 0
    first_words = {line.split(" ")[0] for line in capsys.readouterr().out.splitlines()}
    assert {each.model_type for each in families()} <= first_words

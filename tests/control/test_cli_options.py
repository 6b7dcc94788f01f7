"""Flags out of the configuration dataclasses."""

from __future__ import annotations

import argparse

import pytest

from octavo.cli.options import add_options, from_options, to_flags
from octavo.cli.parser import Parser, UsageError
from octavo.cli.setting_values import parse_bytes
from octavo.config import CacheConfig, EngineConfig, PlacementConfig, SchedulingConfig, ServerConfig, settings, to_flat


def parse(*arguments: str, positional: bool = False) -> EngineConfig:
    parser = Parser(prog="octavo test")
    add_options(parser, EngineConfig, "engine", positional=positional)
    return from_options(EngineConfig, parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("4GiB", 4 << 30), ("512MiB", 512 << 20), ("1.5g", 1_500_000_000), ("2 kb", 2000), ("3Ki", 3072)]
)
def test_sizes_take_units(text: str, size: int):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1.5.2", "4 gibi", "nan"])
def test_what_is_no_size_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        parse_bytes(text)


@pytest.mark.parametrize("config_class", [EngineConfig, ServerConfig])
def test_every_field_is_a_flag_and_no_flag_means_the_default(config_class: type):
    parser = Parser(prog="octavo test")
    add_options(parser, config_class, "settings")
    assert from_options(config_class, parser.parse_args([])) == config_class()
    shown = parser.format_help()
    assert [name for name in settings(config_class) if f"--{name.replace('_', '-')}" not in shown] == []


def test_values_reach_their_fields():
    config = parse("m.gguf", "--kv-cache-bytes", "1MiB", "--no-prefix-caching", "--threads=3", "--log-stats-s", "0.5", positional=True)
    cache, placement = CacheConfig(kv_cache_bytes=1 << 20, prefix_caching=False), PlacementConfig(threads=3)
    assert config == EngineConfig(model="m.gguf", log_stats_s=0.5, cache=cache, placement=placement)


def test_flags_of_a_configuration_build_it_again():
    config = EngineConfig.of(model="folder", max_num_seqs=3, kv_cache_bytes=4096, prefix_caching=False, served_model_name="a b")
    assert parse(*to_flags(config), positional=True) == config
    assert to_flags(EngineConfig()) == []


def test_a_setting_is_found_by_its_flat_name_whatever_its_section():
    config = EngineConfig.of(model="m.gguf", max_num_seqs=3, threads=2)
    assert config == EngineConfig("m.gguf", scheduling=SchedulingConfig(max_num_seqs=3), placement=PlacementConfig(threads=2))
    assert EngineConfig.of(**to_flat(config)) == config
    with pytest.raises(TypeError, match="EngineConfig has no setting 'scheduling'"):
        EngineConfig.of(scheduling=SchedulingConfig())


def test_a_value_out_of_range_is_a_usage_error_that_names_the_flag():
    with pytest.raises(UsageError, match="--max-num-seqs is 0"):
        parse("--max-num-seqs", "0")
    with pytest.raises(UsageError, match=r"--max-step-ms is -1\.0"):
        parse("--max-step-ms", "-1")


def test_a_wrong_type_is_one_line_and_code_2(capsys):
    with pytest.raises(SystemExit) as stop:
        parse("--max-num-seqs", "many")
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert "--max-num-seqs" in message
    assert len(message.splitlines()) == 1

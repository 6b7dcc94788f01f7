"""Settings from variables and from a YAML file: every one has both, a flag counts more than a variable, a variable more than the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from octavo.cli.options import add_options, from_options
from octavo.cli.parser import Parser, UsageError
from octavo.cli.setting_sources import variable_of
from octavo.cli.setting_values import is_list, plain_kind
from octavo.config import EngineConfig, ServerConfig, Setting, settings, to_flat

KNOWN = settings(EngineConfig) | settings(ServerConfig)


def configs(*arguments: str, **environment: str) -> dict[str, Any]:
    """What `octavo serve` would run with, by flat name."""
    parser = Parser(prog="octavo test")
    add_options(parser, EngineConfig, "engine", positional=True)
    add_options(parser, ServerConfig, "server")
    args = parser.parse_args(arguments)
    return to_flat(from_options(EngineConfig, args, environment)) | to_flat(from_options(ServerConfig, args, environment))


def another(setting: Setting) -> Any:
    """A value that is not the default and that the setting may have."""
    kind, most = plain_kind(setting.kind), setting.field.metadata.get("most")
    choices = setting.field.metadata.get("choices")
    if choices:
        return choices[-1]
    if kind is bool:
        return not setting.field.default
    if is_list(kind):
        return ("one", "two")
    if setting.field.name == "allowed_local_media_path":
        return str(Path(__file__).parent)  # a folder that is there
    return {str: "text", int: 7, float: 0.5 if most == 1 else 7.5}[kind]


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_setting_can_come_from_a_variable_and_from_the_file(name: str, tmp_path: Path):
    value = another(KNOWN[name])
    others = {"ssl_certfile": "x"} if name.startswith("ssl_") and name != "ssl_certfile" else {}
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if name != "api_key":  # OCTAVO_API_KEY is one more key, read elsewhere
        assert configs(**{variable_of(each): other for each, other in others.items()}, **{variable_of(name): text})[name] == value
    for key in (name, name.replace("_", "-")):
        file = tmp_path / "octavo.yaml"
        file.write_text(yaml.safe_dump({**others, key: list(value) if isinstance(value, tuple) else value}))
        assert configs("--config", str(file))[name] == value


def test_a_flag_counts_more_than_a_variable_and_a_variable_more_than_the_file(tmp_path: Path):
    file = tmp_path / "octavo.yaml"
    file.write_text("port: 1\nmax-num-seqs: 1\nthreads: 1\nprefix-caching: false\nmodel: a\nserved-model-name: one\nkv-cache-bytes: 1GiB\n")
    variables = {"OCTAVO_PORT": "2", "OCTAVO_MAX_NUM_SEQS": "2", "OCTAVO_SERVED_MODEL_NAME": "two, three", "OCTAVO_THREADS": ""}
    found = configs("b", "--config", str(file), "--port=3", **variables)
    expected = {
        "port": 3,
        "max_num_seqs": 2,
        "threads": 1,
        "prefix_caching": False,
        "model": "b",
        "served_model_name": ("two", "three"),
        "kv_cache_bytes": 1 << 30,
    }
    assert found.items() >= expected.items()
    assert configs("--config", str(file), "--prefix-caching", "--served-model-name=x")["prefix_caching"] is True
    file.write_text("# nothing\nthreads:\n")
    assert configs("--config", str(file)) == configs()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max-model-length: 1", "unknown key 'max-model-length'; did you mean max-model-len?"),
        ("scheduling: {max-num-seqs: 1}", "unknown key 'scheduling'"),
        ("1: 2", "unknown key '1'"),
        ("port: many", "port: 'many' is not a whole number"),
        ("port: true", "port: True is not a whole number"),
        ("port: 1.5", "port: 1.5 is not a whole number"),
        ("port: '80'", "port: '80' is not a whole number"),
        ("model: 7", "model: 7 is not a text; put it in quotes"),
        ("served-model-name: [a, 1]", "['a', 1] is not a list of texts"),
        ("prefix-caching: maybe", "prefix-caching: 'maybe' is not true or false"),
        ("dtype: fp64", "dtype: 'fp64' must be one of: auto"),
        ("kv-cache-bytes: 4 parsecs", "kv-cache-bytes: '4 parsecs' is not a size"),
        ("max-num-seqs: 0", "--max-num-seqs is 0"),
        ("port: 1\nport: 2", "port stands there twice"),
        ("max-num-seqs: 1\nmax_num_seqs: 2", "max_num_seqs stands there twice"),
        ("- port", "is not a list of names and values"),
        ("port: [", "is not YAML: while parsing"),
        ("port: !!python/object/apply:os.system [id]", "is not YAML: could not determine a constructor"),
        ("a: &a [*a]", "is not YAML: found unconstructable recursive node"),
        ("port: " + "[" * 5000, "is not YAML"),
        ("\0", "is not YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, error: str, tmp_path: Path):
    file = tmp_path / "octavo.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        configs("--config", str(file))
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    for path, text in (("no.yaml", "No such file"), (str(tmp_path), "Is a directory"), (str(tmp_path / "latin.yaml"), "utf-8")):
        with pytest.raises(UsageError, match=f"--config .* cannot be read: .*{text}"):
            configs("--config", path)


@pytest.mark.parametrize(
    ("variable", "text", "error"),
    [
        ("OCTAVO_PORT", "many", "OCTAVO_PORT: 'many' is not a whole number"),
        ("OCTAVO_PREFIX_CACHING", "2", "'2' is not true or false"),
        ("OCTAVO_KV_CACHE_BYTES", "x", "'x' is not a size"),
        ("OCTAVO_LOG_LEVEL", "loud", "'loud' must be one of: debug"),
        ("OCTAVO_MAX_NUM_SEQS", "0", "--max-num-seqs is 0"),
    ],
)
def test_a_mistake_in_a_variable_is_named(variable: str, text: str, error: str):
    with pytest.raises(UsageError) as caught:
        configs(**{variable: text})
    assert error in str(caught.value)


def test_the_variable_that_kubernetes_sets_beside_a_service_called_octavo_is_not_ours():
    assert configs(OCTAVO_PORT="tcp://10.0.0.1:8000", OCTAVO_SERVICE_PORT="8000") == configs()

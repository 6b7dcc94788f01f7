"""The programs and files of docs/examples do what they say, against the fake engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from fakes.scripted_engine import ScriptedEngine, words_script
from fakes.served_in_thread import ServedInThread
from octavo.cli.run_batch import read_batch
from octavo.cli.setting_sources import read_config_file
from octavo.types import Delta, GenerationRequest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def run(program: str, *arguments: str, typed: str = "") -> str:
    command = [sys.executable, str(EXAMPLES / program), *arguments]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def calls_then_answers(request: GenerationRequest) -> AsyncIterator[Delta]:
    """A call where the grammar asks for one, else words."""
    text = (
        '<tool_call>\n{"name": "temperature", "arguments": {"city": "Oslo"}}\n</tool_call>' if request.params.grammar else "Eight degrees."
    )
    async for delta in words_script(text)(request):
        yield delta


def test_a_conversation_over_openais_api():
    pytest.importorskip("openai")
    with ServedInThread(ScriptedEngine("A river.")) as served:
        assert run("chat.py", f"{served.url}/v1", typed="Hello?\nAnd?\n") == "A river.\nA river.\n"


def test_a_tool_is_called_and_its_result_answered():
    pytest.importorskip("openai")
    engine = ScriptedEngine(script=calls_then_answers, max_model_len=4096)
    with ServedInThread(engine, tool_parser="hermes") as served:
        lines = run("tools.py", f"{served.url}/v1").splitlines()
    assert re.fullmatch(r'temperature\(\{.*"Oslo"\}\) -> \{"city": "Oslo", "celsius": 8\}', lines[0])
    assert lines[1:] == ["Eight degrees."]


def test_many_streams_over_one_socket():
    with ServedInThread(ScriptedEngine("An answer.")) as served:
        url = served.url.replace("http", "ws") + "/v1/stream"
        assert run("websocket_chat.py", url).splitlines() == ["river: An answer.", "mountain: An answer."]


def test_a_conversation_over_the_responses_socket():
    with ServedInThread(ScriptedEngine("An answer.")) as served:
        lines = run("responses_socket.py", served.url.replace("http", "ws") + "/v1/responses").splitlines()
    assert lines[::2] == ["An answer.", "An answer."]
    counts = [int(re.match(r"\[(\d+) tokens", line)[1]) for line in lines[1::2]]
    assert counts[0] < counts[1]


def test_the_batch_can_be_read():
    assert [each.custom_id for each in read_batch((EXAMPLES / "batch.jsonl").open())] == ["river", "mountain", "sea"]


def test_files_of_settings_and_services_are_well_formed():
    assert read_config_file(str(EXAMPLES / "octavo.yaml"))["kv_cache_bytes"] == 4 << 30
    for name in ("compose.yaml", "kubernetes.yaml"):
        assert list(yaml.safe_load_all((EXAMPLES / name).read_text()))
    for path in (EXAMPLES.parents[1] / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(path.read_text())
    assert json.loads((EXAMPLES / "grafana-dashboard.json").read_text())["title"] == "Octavo"


def test_the_list_names_every_file():
    text = (EXAMPLES / "README.md").read_text()
    assert [path.name for path in EXAMPLES.iterdir() if path.name != "README.md" and f"]({path.name})" not in text] == []

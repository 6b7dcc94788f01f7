"""Clients as their users install them (`tools/clients`), against a server that calls their tools and answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from random_gguf import write_model

from fakes.agent_server import ANSWER
from octavo.fetch.default_model import default_model_path

HERE = Path(__file__).parent
CLIENTS = Path(os.environ.get("OCTAVO_CLIENTS", HERE.parents[1] / "build" / "clients"))
PYTHON_CLIENTS = {
    "anthropic_messages": "anthropic",
    "instructor_object": "instructor",
    "langchain_openai_chat": "langchain_openai",
    "litellm_chat": "litellm",
    "llama_benchy": "llama_benchy",
    "llama_index_chat": "llama_index/llms/openai_like",
    "llm_command": "llm",
    "lm_eval_completions": "lm_eval",
    "pydantic_ai_agent": "pydantic_ai",
}
AGENT_SECONDS = 180


def installed(name: str, found: bool) -> Any:
    """The client's name as a parameter; its test is skipped, and no server started for it, where it is not installed."""
    return pytest.param(name, marks=pytest.mark.skipif(not found, reason=f"tools/clients has not installed {name}"))


def has_package(package: str) -> bool:
    return any(CLIENTS.glob(f"lib/python*/site-packages/{package}*"))


def has_command(name: str) -> bool:
    return shutil.which("node") is not None and (CLIENTS / "npm" / "node_modules" / ".bin" / name).exists()


@pytest.fixture(scope="module")
def dictated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `fakes/agent_server.py` over a random model with the default model's vocabulary and a window of 128k tokens."""
    model = tmp_path_factory.mktemp("agent") / "agent.gguf"
    write_model(model, default_model_path(), hidden=64, ffn=128, layers=2, heads=2, kv_heads=2, context=131072)
    yield from serving([sys.executable, "-m", "fakes.agent_server", str(model)])


@pytest.fixture(scope="module")
def free() -> Iterator[str]:
    """The address of `octavo serve`."""
    yield from serving(
        [sys.executable, "-m", "octavo", "serve", str(default_model_path()), "--port=0", "--served-model-name=tiny", "--max-model-len=4096"]
    )


def serving(command: list[str]) -> Iterator[str]:
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    log = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen = ""
    try:
        while not (found := re.search(r"http://[\d.]+:\d+", seen)):
            line = log.stdout.readline()
            assert line, f"the server ended: {seen}"
            seen += line
        yield found[0]
    finally:
        log.terminate()
        log.communicate(timeout=30)


def run(command: list[str], seconds: float, **environment: str) -> str:
    """What a client writes to standard output; it must end well."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    done = subprocess.run(command, env=kept | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_openai(dictated: str, free: str) -> None:
    run([sys.executable, str(HERE / "openai_all.py"), dictated, free], 100)


@pytest.mark.parametrize("name", [installed(name, has_package(package)) for name, package in PYTHON_CLIENTS.items()])
def test_python_clients(name: str, dictated: str, free: str, tmp_path: Path) -> None:
    run([str(CLIENTS / "bin" / "python"), str(HERE / f"{name}.py"), dictated, free], 100, HOME=str(tmp_path))


@pytest.fixture
def agent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command of an agent from npm, in an empty folder of its own."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return str(CLIENTS / "npm" / "node_modules" / ".bin" / request.param)


@pytest.mark.parametrize("agent", [installed("codex", has_command("codex"))], indirect=True)
def test_codex(agent: str, dictated: str, tmp_path: Path) -> None:
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text(
        'model = "tiny"\nmodel_provider = "octavo"\n[model_providers.octavo]\nname = "octavo"\n'
        f'base_url = "{dictated}/v1"\nwire_api = "responses"\nenv_key = "OCTAVO_KEY"\n'
    )
    command = [agent, "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "What does echo print?"]
    said = run(command, AGENT_SECONDS, HOME=str(tmp_path), CODEX_HOME=str(tmp_path / ".codex"), OCTAVO_KEY="x")
    assert "\noctavo-42\n" in said
    assert ANSWER in said


@pytest.mark.parametrize("agent", [installed("claude", has_command("claude"))], indirect=True)
def test_claude_code(agent: str, dictated: str, tmp_path: Path) -> None:
    settings = {"ANTHROPIC_BASE_URL": dictated, "ANTHROPIC_API_KEY": "x", "ANTHROPIC_SMALL_FAST_MODEL": "tiny", "IS_SANDBOX": "1"}
    settings |= dict.fromkeys(("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_AUTOUPDATER", "DISABLE_TELEMETRY"), "1")
    command = [
        agent,
        "-p",
        "What does echo print?",
        "--allowedTools",
        "Bash",
        "--model",
        "tiny",
        "--output-format",
        "stream-json",
        "--verbose",
    ]
    said = run(command, AGENT_SECONDS, HOME=str(tmp_path), **settings)
    assert '"content":"octavo-42"' in said
    assert ANSWER in said


@pytest.mark.parametrize("agent", [installed("opencode", has_command("opencode"))], indirect=True)
def test_opencode(agent: str, dictated: str, tmp_path: Path) -> None:
    models = {"tiny": {"name": "tiny", "limit": {"context": 65536, "output": 1024}}}
    options = {"baseURL": f"{dictated}/v1", "apiKey": "x"}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "Octavo", "options": options, "models": models}
    config = {"autoupdate": False, "share": "disabled", "permission": "allow", "provider": {"octavo": provider}}
    (tmp_path / "work" / "opencode.json").write_text(json.dumps(config))
    folders = {f"XDG_{kind}_HOME": str(tmp_path / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE")}
    settings = {"HOME": str(tmp_path), "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1", **folders}
    said = run([agent, "run", "--model", "octavo/tiny", "What does echo print?"], AGENT_SECONDS, **settings)
    assert "octavo-42\n" in said
    assert ANSWER in said

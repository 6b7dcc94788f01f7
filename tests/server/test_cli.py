"""The command as a person types it: what goes wrong is one clear line and an exit code; clients against a running server."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.running_server import StartServer
from octavo.cli.source import ServerSource
from octavo.errors import InvalidRequestError, OctavoError
from octavo.types import SamplingParams


def octavo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "octavo", *arguments], capture_output=True, text=True, timeout=60, check=False)


def refused(code: int, *arguments: str) -> str:
    """Run the command, check that it fails as it should, and return its one line."""
    done = octavo(*arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((), "command"),
        (("fly",), "fly"),
        (("srve",), "did you mean serve?"),
        (("bench", "throughputs"), "did you mean throughput?"),
        (("serve", "--no-such-flag"), "--no-such-flag"),
        (("serve", "--modl", "x"), "unknown argument --modl; did you mean --model?"),
        (("serve", "--enable-prefix-caching"), "did you mean --prefix-caching?"),
        (("chat", "--mem-fraction-static=0.9"), "did you mean --gpu-memory-utilization?"),
        (("bench", "latency", "--ctx-size", "9"), "did you mean --max-model-len?"),
        (("doctor", "--tensor-parallel-size", "2"), "unknown argument --tensor-parallel-size (see"),
        (("serve", "--port", "many"), "--port"),
        (("serve", "--max-num-seqs", "0"), "--max-num-seqs is 0"),
        (("serve", "--executor", "magic"), "--executor"),
        (("serve", "--kv-cache-bytes", "4 parsecs"), "is not a size"),
        (("complete",), "PROMPT"),
        (("bench",), "benchmark"),
        (("bench", "throughput", "--num-prompts", "0"), "--num-prompts"),
        (("bench", "latency", "--json", "no/such/folder/x.json"), "no such folder"),
    ],
)
def test_wrong_usage_is_code_2_and_names_the_mistake(arguments: tuple[str, ...], names: str):
    assert names in refused(2, *arguments)


def test_the_help_of_every_command_names_its_flags():
    for command in ("serve", "chat", "complete", "doctor"):
        assert "--max-num-seqs" in octavo(command, "--help").stdout
    for benchmark in ("latency", "throughput", "serve", "startup"):
        assert "--json" in octavo("bench", benchmark, "--help").stdout


def test_an_unknown_model_path_is_named(tmp_path: Path):
    missing = str(tmp_path / "no-model.gguf")
    assert missing in refused(1, "serve", "--port", "0", missing)
    assert missing in refused(1, "complete", "hello", "--model", missing)


def test_a_file_that_is_no_model_is_named(tmp_path: Path):
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF\x03")
    assert "broken.gguf" in refused(1, "serve", "--port", "0", str(file))


def test_a_port_in_use_is_told_before_a_model_is_looked_at(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused(1, "serve", "--port", str(port), str(tmp_path / "no-model"))
    assert str(port) in line
    assert "--port" in line


def test_a_sampling_parameter_out_of_range_is_told_before_a_model_is_loaded():
    assert "temperature" in refused(1, "complete", "hello", "--temperature", "-1")


def test_no_server_at_the_url():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "is a server running there" in refused(1, "complete", "hello", "--url", f"http://127.0.0.1:{port}")
    assert "is a server running there" in refused(1, "bench", "serve", "--base-url", f"http://127.0.0.1:{port}", "--num-prompts", "1")


@pytest.mark.parametrize("command", ["serve", "chat", "doctor"])
def test_the_model_may_be_named_with_or_without_the_flag(command: str, tmp_path: Path):
    missing = str(tmp_path / "no-model.gguf")
    port = ("--port", "0") if command == "serve" else ()
    for arguments in ((missing,), ("--model", missing), (f"--model={missing}",)):
        done = octavo(command, *port, *arguments)
        assert "no-model.gguf" in done.stdout + done.stderr
        assert done.returncode == 1


async def test_complete_is_a_unix_tool(start_server: StartServer):
    server = await start_server()
    command = f"{sys.executable} -m octavo complete --url {server.url} --max-tokens 20"

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=60, check=False)

    piped = await asyncio.to_thread(shell, f"echo hello | {command}")
    named = await asyncio.to_thread(shell, f"{command} hello")
    assert (piped.returncode, piped.stderr, piped.stdout) == (0, "", named.stdout)
    cut = await asyncio.to_thread(shell, f"{command} hello | true")
    assert (cut.returncode, cut.stderr) == (141, "")


def test_doctor_looks_at_everything():
    done = octavo("doctor", "no-such-model")
    assert done.returncode == 1
    for subject in ("Python", "Octavo", "Processor", "Kernels", "Cores", "Memory", "torch", "Executor", "problem  Model"):
        assert subject in done.stdout


async def test_a_source_streams_from_a_server(start_server: StartServer):
    server = await start_server()

    def talk() -> tuple[list[str], int]:
        source = ServerSource(server.url + "/v1")
        pieces = [
            *source.complete("hello", SamplingParams(max_tokens=4)),
            *source.chat([{"role": "user", "content": "hi"}], SamplingParams()),
        ]
        return [piece.text for piece in pieces], sum(piece.num_tokens for piece in pieces)

    texts, num_tokens = await asyncio.to_thread(talk)
    assert "".join(texts)
    assert num_tokens > 0


async def test_a_source_reports_the_servers_own_words(start_server: StartServer):
    server = await start_server()

    def refuse() -> None:
        ServerSource(server.url).chat([], SamplingParams()).send(None)

    with pytest.raises(InvalidRequestError, match=r"answered 400: .*messages"):
        await asyncio.to_thread(refuse)
    with pytest.raises(OctavoError, match="not the address of a server"):
        ServerSource("ftp://nowhere")


async def test_bench_serve_measures_a_running_server(start_server: StartServer, tmp_path: Path):
    server = await start_server()
    file = tmp_path / "run.json"
    arguments = ["--base-url", server.url, "--num-prompts", "5", "--concurrency", "2", "--input-len", "3", "--output-len", "2"]
    done = await asyncio.to_thread(octavo, "bench", "serve", *arguments, "--vocab-size", "256", "--json", str(file))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "output tokens/s" in done.stdout
    report = json.loads(file.read_text())
    assert report["results"]["completed"] == 5
    assert len(report["requests"]) == 5
    assert report["results"]["output_tokens"] == sum(request["output_tokens"] for request in report["requests"]) > 0

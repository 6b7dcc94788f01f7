"""The server as a process: listening, signals, drain, start-up cost."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from octavo.config import ServerConfig
from octavo.errors import ConfigError
from octavo.server.listen import listen

TESTS = Path(__file__).parents[1]
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from fakes.scripted_engine import ScriptedEngine, words_script
from octavo import log
from octavo.config import ServerConfig
from octavo.server.listen import listen
from octavo.server.serve import serve

log.configure()
config = ServerConfig(port=0, shutdown_s=float(sys.argv[2]))
listener = listen(config)
print(listener.getsockname()[1], flush=True)
serve(ScriptedEngine(script=words_script("word " * 10, interval_s=float(sys.argv[3]))), config, [listener])
"""


class Process:
    """A server process; `answers` is a stream that has begun."""

    def __init__(self, *, shutdown_s: float, interval_s: float) -> None:
        command = [sys.executable, "-c", PROGRAM, str(TESTS), str(shutdown_s), str(interval_s)]
        self.popen = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.port = int(self.popen.stdout.readline())

    def post(self, *, stream: bool = True) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(
            "POST",
            "/v1/completions",
            json.dumps({"prompt": "a", "max_tokens": 100, "stream": stream}),
            {"Content-Type": "application/json"},
        )
        return connection.getresponse()

    def signal(self, number: int) -> None:
        os.kill(self.popen.pid, number)

    def end(self) -> tuple[int, str]:
        _, log = self.popen.communicate(timeout=20)
        return self.popen.returncode, log


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.popen.kill()
        process.popen.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(processes: list[Process], number: int) -> None:
    process = Process(shutdown_s=10, interval_s=0.1)
    processes.append(process)
    running = process.post()
    assert running.read(6) == b"data: "
    process.signal(number)
    assert b"shutting_down" in wait_for_503(process)
    rest = running.read()
    assert rest.count(b'"text":"word "') == 10
    assert b'"finish_reason":"stop"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")
    code, log = process.end()
    assert code == 0
    assert re.search(r"shutting down; [12] running", log)  # the request that waits for the 503 may have come before it
    assert "stopped" in log


def test_what_outlasts_the_drain_is_aborted_with_a_finish_reason(processes: list[Process]) -> None:
    process = Process(shutdown_s=0.3, interval_s=5.0)
    processes.append(process)
    running = process.post()
    assert running.read(6) == b"data: "
    process.signal(signal.SIGTERM)
    rest = running.read()
    assert b'"finish_reason":"abort"' in rest
    assert rest.endswith(b"data: [DONE]\n\n")
    assert process.end()[0] == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_second_signal_ends_at_once(processes: list[Process], number: int, code: int) -> None:
    process = Process(shutdown_s=60, interval_s=30)
    processes.append(process)
    running = process.post()
    running.read(6)
    process.signal(signal.SIGTERM)
    wait_for_503(process)
    process.signal(number)
    assert process.end()[0] == code


def wait_for_503(process: Process) -> bytes:
    """The signal needs a moment; until then requests are accepted."""
    for _ in range(50):
        response = process.post()
        if response.status == 503:
            return response.read()
        response.close()
    raise AssertionError("the server went on accepting requests")


def test_too_few_open_files_are_told_in_a_line() -> None:
    code = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)); from octavo.cli.main import main; raise SystemExit(main())"
    done = subprocess.run([sys.executable, "-c", code, "serve", "--port", "0"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "may open 8 files" in done.stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1"])
def test_a_drain_takes_a_number_of_seconds(seconds: str) -> None:
    with pytest.raises(ConfigError, match="--shutdown-s"):
        ServerConfig(shutdown_s=float(seconds))


def test_a_port_in_use_is_named_with_the_remedy() -> None:
    with listen(ServerConfig(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1 port {port}: another program uses the port; .* --port"):
            listen(ServerConfig(port=port))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"host": "no-such-host.invalid"}, "--host"),
        ({"host": "192.0.2.1"}, "no such address"),
        ({"port": 70000}, "--port"),
        ({"port": -1}, "--port"),
    ],
)
def test_addresses_that_cannot_work(settings: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        listen(ServerConfig(**{"port": 0, **settings}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_listening_hosts_answer_on_the_loopback(host: str) -> None:
    with listen(ServerConfig(host=host, port=0)) as listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])):
        pass


def test_importing_the_server_brings_no_torch_and_no_transformers() -> None:
    code = "import octavo.server.serve, sys; assert not {'torch', 'transformers', 'tokenizers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

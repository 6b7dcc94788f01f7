"""Where the server listens besides a port, and what it tells the service manager: Unix sockets, sockets from systemd, notifications."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from octavo.config import ServerConfig
from octavo.errors import ConfigError
from octavo.server.listen import listeners, with_addresses
from octavo.server.service_manager import ServiceManager

TESTS = Path(__file__).parents[1]
SERVER = """
import os, sys
sys.path.insert(0, sys.argv[1])
from fakes.scripted_engine import ScriptedEngine, words_script
from octavo import log
from octavo.config import ServerConfig
from octavo.server.listen import listeners
from octavo.server.serve import serve
from octavo.server.service_manager import ServiceManager

log.configure()
if "LISTEN_FDS" in os.environ:
    os.environ["LISTEN_PID"] = str(os.getpid())
config = ServerConfig(uds=sys.argv[2] or None, port=0)
with listeners(config, os.environ) as sockets:
    assert "LISTEN_FDS" not in os.environ
    serve(ScriptedEngine(script=words_script("a b", interval_s=0.05)), config, sockets, manager=ServiceManager(os.environ))
"""


def start(path: str = "", **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVER, str(TESTS), path]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}, close_fds=False)


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> str:
    process.send_signal(number)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    return log


async def health(path: str, host: str = "anything") -> int:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as http, http.get(f"http://{host}/health") as response:
        return response.status


async def test_a_unix_socket_serves_any_host_and_goes_with_its_server(tmp_path: Path):
    path = str(tmp_path / "o.sock")
    process = start(path)
    assert f"http+unix:{path}" in process.stderr.readline()
    assert await health(path) == 200
    with pytest.raises(ConfigError, match="another server listens there"), listeners(ServerConfig(uds=path), {}):
        pass
    assert "without a key" not in end(process)
    assert os.listdir(tmp_path) == []


async def test_a_half_closed_unix_connection_gets_its_answer(tmp_path: Path):
    path = str(tmp_path / "o.sock")
    process = start(path)
    process.stderr.readline()
    reader, writer = await asyncio.open_unix_connection(path)
    body = b'{"prompt":"a"}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    writer.write_eof()
    assert b'"text":"a b"' in await asyncio.wait_for(reader.read(), 10)
    writer.close()
    end(process)


def test_a_socket_that_was_left_behind_is_replaced_and_a_file_is_not(tmp_path: Path):
    path = str(tmp_path / "o.sock")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    with listeners(ServerConfig(uds=path), {}) as [listener]:
        assert listener.getsockname() == path
        os.unlink(path)
        with listeners(ServerConfig(uds=path), {}):
            os.rename(path, path + "2")  # whoever has taken the path keeps it
            Path(path).write_text("precious")
    assert Path(path).read_text() == "precious"
    for bad, text in ((path, "a file that is no socket"), (str(tmp_path / "no" / "o.sock"), "No such file"), ("x" * 200, "too long")):
        with pytest.raises(ConfigError, match=text), listeners(ServerConfig(uds=bad), {}):
            pass


def test_systemd_passes_sockets_and_hears_how_the_server_fares(tmp_path: Path):
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, socket.create_server(("127.0.0.1", 0)) as opened:
        manager.bind(notify)
        manager.settimeout(20)
        kept = os.dup(3)  # systemd passes the first socket as descriptor 3
        os.dup2(opened.fileno(), 3)
        try:
            process = start(LISTEN_FDS="1", NOTIFY_SOCKET=notify, WATCHDOG_USEC="200000")
        finally:
            os.dup2(kept, 3)
            os.close(kept)
        port = opened.getsockname()[1]
        heard = [manager.recv(1000).decode() for _ in range(4)]
        assert heard.count("WATCHDOG=1") == 3
        assert [text for text in heard if text.startswith("READY=1\nSTATUS=serving toy at") and f":{port}" in text]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        end(process)
        manager.setblocking(False)
        rest = []
        while not rest or not rest[-1].startswith("STOPPING=1"):
            rest.append(manager.recv(1000).decode())


@pytest.mark.parametrize("frontends", [1, 2])
def test_a_reload_by_systemd_ends_nothing_where_there_is_nothing_to_reload(frontends: int, tmp_path: Path):
    """ExecReload= sends SIGHUP, which ends a process that does not listen to it."""
    pytest.importorskip("octavo._runtime", exc_type=ImportError)
    notify = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(notify)
        manager.settimeout(60)
        command = [sys.executable, "-m", "octavo", "serve", "synthetic:tokens_per_s=100", "--port=0", f"--frontends={frontends}"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NOTIFY_SOCKET": notify})
        try:
            assert manager.recv(1000).startswith(b"READY=1")
            process.send_signal(signal.SIGHUP)
            assert manager.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert manager.recv(1000).startswith(b"READY=1")
            assert process.poll() is None
            end(process)
        finally:
            process.kill()
            process.communicate()


def test_words_to_another_process_or_to_nobody_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with listeners(ServerConfig(port=0), {"LISTEN_PID": "1", "LISTEN_FDS": "3"}) as [listener]:
        assert listener.getsockname()[1]
    ServiceManager({}).ready("unheard")
    assert caplog.text == ""
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("unheard")
    assert "was not told 'READY=1'" in caplog.text


def test_a_socket_from_systemd_decides_whose_names_are_checked():
    with socket.create_server(("127.0.0.1", 0)) as near, socket.create_server(("0.0.0.0", 0)) as far:
        config = ServerConfig()
        assert with_addresses(config, [near]).host == "127.0.0.1"
        assert with_addresses(config, [near, far]).host == "0.0.0.0"
    with socket.socket(socket.AF_UNIX) as path:
        assert with_addresses(config, [path]).host == ""

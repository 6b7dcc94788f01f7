"""HTTPS: requests, streams and sockets over TLS, certificates that are renewed, clients that must show one, files that are no good."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from fakes.scripted_engine import ScriptedEngine
from octavo.config import ServerConfig, TlsConfig
from octavo.errors import ConfigError
from octavo.server.app import build_app
from octavo.server.edge.tls import Certificates
from octavo.server.listen import listen
from octavo.server.serve import make_runner, start_site

trustme = pytest.importorskip("trustme")


@dataclass
class Files:
    """A certificate authority, and the files of a server that it has issued a certificate."""

    authority: object
    certificate: Path
    key: Path

    def issue(self) -> None:
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    def config(self, **settings: str) -> TlsConfig:
        return TlsConfig(str(self.certificate), str(self.key), **settings)

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(trustme.CA(), tmp_path / "cert.pem", tmp_path / "key.pem")
    made.issue()
    return made


@pytest.fixture
async def start(files: Files) -> AsyncIterator:
    runners = []

    async def begin(config: TlsConfig) -> tuple[str, Certificates]:
        certificates = Certificates(config)
        server = ServerConfig(port=0)
        app = build_app(ScriptedEngine("a b c"), server)
        runners.append(make_runner(app))
        await runners[-1].setup()
        listener = listen(server)
        await start_site(runners[-1], app, listener, certificates)
        return f"https://127.0.0.1:{listener.getsockname()[1]}", certificates

    yield begin
    for runner in runners:
        await runner.cleanup()


async def test_answers_streams_and_sockets_are_the_same_over_tls(files: Files, start):
    url, _ = await start(files.config())
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=files.client())) as http:
        async with http.post("/v1/completions", json={"prompt": "a"}) as response:
            assert (await response.json())["choices"][0]["text"] == "a b c"
        async with http.post("/v1/completions", json={"prompt": "a", "stream": True}) as response:
            assert (await response.read()).endswith(b"data: [DONE]\n\n")
        async with http.ws_connect("/v1/stream", origin=url) as socket:
            await socket.send_json({"id": 1, "prompt": "a"})
            kinds = [(await socket.receive_json())["type"] for _ in range(5)]
            assert kinds[-1] == "done"
    async with aiohttp.ClientSession(url) as stranger:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await stranger.get("/health")


async def test_plain_http_to_the_port_costs_only_its_own_connection(files: Files, start, caplog: pytest.LogCaptureFixture):
    url, _ = await start(files.config())
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert not (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
    writer.close()
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=files.client())) as http, http.get("/health") as response:
        assert response.status == 200
    assert "Traceback" not in caplog.text


async def serial(url: str, files: Files) -> str:
    """The number of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=files.client(), server_hostname="localhost")
    shown = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    return shown


async def test_renewed_files_reach_new_connections_and_bad_ones_do_not(files: Files, start, caplog: pytest.LogCaptureFixture):
    url, certificates = await start(files.config())
    first = await serial(url, files)
    watch = asyncio.create_task(certificates.watch(every_s=0.01))
    files.issue()
    for _ in range(200):
        if (second := await serial(url, files)) != first:
            break
        await asyncio.sleep(0.01)
    assert second != first
    watch.cancel()
    files.key.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    certificates.reload()
    assert "the certificate stays as it was" in caplog.text
    assert "the key is not that of the certificate" in caplog.text
    assert await serial(url, files) == second


async def test_clients_must_show_a_certificate_where_authorities_are_named(files: Files, start, tmp_path: Path):
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "clients.pem")
    url, _ = await start(files.config(ssl_ca_certs=str(tmp_path / "clients.pem")))
    context = files.client()
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context)) as http:
        with pytest.raises(aiohttp.ClientError):
            await (await http.get("/health")).read()
    ours.issue_cert("client@example.com").configure_cert(context)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=context)) as http, http.get("/health") as response:
        assert response.status == 200


def refused(config: TlsConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        Certificates(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_no_good_are_named_with_the_reason(files: Files, tmp_path: Path):
    certificate, key = str(files.certificate), str(files.key)
    assert refused(TlsConfig("no/such.pem")) == "--ssl-certfile no/such.pem cannot be read: No such file or directory"
    assert refused(TlsConfig(str(tmp_path))).endswith("cannot be read: Is a directory")
    assert "--ssl-keyfile no.pem cannot be read" in refused(TlsConfig(certificate, "no.pem"))
    (tmp_path / "der").write_bytes(os.urandom(100))
    assert "der is not in PEM form" in refused(TlsConfig(str(tmp_path / "der"), key))
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    assert "broken.pem" in refused(TlsConfig(str(tmp_path / "broken.pem"), key))
    assert certificate in refused(TlsConfig(certificate))  # without its key
    other = trustme.CA().issue_cert("localhost")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    assert refused(TlsConfig(certificate, str(tmp_path / "other.pem"))).endswith("the key is not that of the certificate")
    assert "clients.pem cannot be used" in refused(TlsConfig(certificate, key, "clients.pem"))
    with pytest.raises(ConfigError, match="--ssl-keyfile is given without --ssl-certfile"):
        TlsConfig(ssl_keyfile=key)


def test_the_command_tells_a_bad_file_before_it_looks_for_a_model():
    command = [sys.executable, "-m", "octavo", "serve", "no-such-model", "--ssl-certfile", "no.pem"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "octavo serve: --ssl-certfile no.pem cannot be read: No such file or directory\n")


def test_an_encrypted_key_is_refused_and_asks_nobody(files: Files, tmp_path: Path):
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(files.key.read_bytes(), None)
    encrypted = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret"))
    (tmp_path / "encrypted.pem").write_bytes(encrypted)
    assert "is encrypted" in refused(TlsConfig(str(files.certificate), str(tmp_path / "encrypted.pem")))

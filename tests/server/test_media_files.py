"""Images that a request names: fetched from listed hosts at checked addresses, read from the allowed folder, and from nowhere else."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from octavo.config import ServerConfig
from octavo.errors import ConfigError, InvalidRequestError
from octavo.server.edge import media_files
from octavo.server.edge.media_files import MediaFiles, is_public

PICTURE = b"\x89PNG" + bytes(1000)


class Site:
    """A host of pictures on loopback, which knows what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        kind, _, rest = request.path.lstrip("/").partition("/")
        if kind == "to":
            raise web.HTTPFound(rest.replace("PORT", str(self.port)))
        if kind == "slow":
            await asyncio.sleep(30)
        if kind == "large":
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(64):
                await response.write(bytes(1 << 20))
            return response
        return web.Response(body=PICTURE) if kind == "picture" else web.Response(status=404)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def files(*names: str, addresses: tuple[str, ...] = ("127.0.0.1",)) -> MediaFiles:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return MediaFiles(ServerConfig(allowed_media_domains=names), resolve)


async def refusal(reader: MediaFiles, url: str) -> str:
    with pytest.raises(InvalidRequestError) as error:
        await reader.read(url, "messages[0].content")
    assert error.value.param == "messages[0].content"
    return str(error.value)


async def test_a_listed_name_is_fetched(site: Site) -> None:
    reader = files("pictures.test", "127.0.0.1")
    assert await reader.read(f"http://pictures.test:{site.port}/picture", "messages") == PICTURE
    assert await reader.read(f"HTTP://Pictures.TEST:{site.port}/picture", "messages") == PICTURE
    assert await reader.read(f"http://127.0.0.1:{site.port}/picture", "messages") == PICTURE
    assert await files("*.test", "127.0.0.1").read(f"http://a.b.test:{site.port}/picture", "messages") == PICTURE


async def test_nothing_is_fetched_by_default(site: Site) -> None:
    assert "--allowed-media-domains" in await refusal(files(), f"http://pictures.test:{site.port}/picture")
    assert not site.asked


@pytest.mark.parametrize(
    "url",
    [
        "http://other.test:PORT/picture",
        "http://pictures.test.evil.test:PORT/picture",
        "http://evilpictures.test:PORT/picture",
        "http://user@pictures.test:PORT/picture",
        "http://[::1]:PORT/picture",
        "http://127.1:PORT/picture",
        "http://2130706433:PORT/picture",
        "http:///picture",
        "http://pictures.test:99999/picture",
        "http://pictures.test/" + "x" * 3000,
        "ftp://pictures.test/picture",
        "gopher://pictures.test/picture",
        "pictures.test/picture",
        "",
    ],
)
async def test_other_names_are_refused(site: Site, url: str) -> None:
    await refusal(files("pictures.test", "127.0.0.1"), url.replace("PORT", str(site.port)))
    assert not site.asked


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "0.0.0.0"])
async def test_a_listed_name_with_a_private_address_is_refused(site: Site, address: str) -> None:
    message = await refusal(files("pictures.test", addresses=("93.184.216.34", address)), f"http://pictures.test:{site.port}/picture")
    assert "not public" in message
    message = await refusal(files("*", addresses=(address,)), f"http://pictures.test:{site.port}/picture")
    assert "not public" in message
    assert not site.asked


async def test_an_address_that_is_not_public_is_refused_under_a_star(site: Site) -> None:
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"):
        assert "not public" in await refusal(files("*"), f"http://{host}:{site.port}/picture")
    assert not site.asked


async def test_the_address_that_was_checked_is_the_one_connected_to(site: Site) -> None:
    answers = iter([["127.0.0.1"], ["10.255.255.1"]])  # a name that is bound again

    async def resolve(host: str, port: int) -> list[str]:
        return next(answers)

    reader = MediaFiles(ServerConfig(allowed_media_domains=("pictures.test", "127.0.0.1")), resolve)
    assert await reader.read(f"http://pictures.test:{site.port}/picture", "messages") == PICTURE
    assert len(list(answers)) == 1  # asked once


async def test_redirects_are_checked_like_the_first(site: Site) -> None:
    reader = files("pictures.test", "127.0.0.1")
    base = f"http://pictures.test:{site.port}"
    assert await reader.read(f"{base}/to//picture", "messages") == PICTURE
    assert "not among" in await refusal(reader, f"{base}/to/http://other.test:PORT/picture")
    assert "plain" in await refusal(reader, f"{base}/to/file:///etc/passwd")
    assert "more than 3" in await refusal(reader, f"{base}/to//to//to//to//to//picture")

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "pictures.test" else ["10.0.0.1"]

    reader = MediaFiles(ServerConfig(allowed_media_domains=("*", "127.0.0.1")), resolve)
    assert "not public" in await refusal(reader, f"{base}/to/http://inside.test/picture")
    assert "not public" in await refusal(reader, f"{base}/to/http://169.254.169.254/latest")


async def test_size_time_and_answers_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = files("127.0.0.1")
    base = f"http://127.0.0.1:{site.port}"
    assert "404" in await refusal(reader, f"{base}/none")
    assert "more than" in await refusal(reader, f"{base}/large")
    monkeypatch.setattr(media_files, "_TIMEOUT_S", 0.2)
    assert "within" in await refusal(reader, f"{base}/slow")
    assert "could not be fetched" in await refusal(reader, "http://127.0.0.1:1/picture")
    assert len(os.listdir("/proc/self/fd")) < 200


def test_addresses_that_hide_others_are_not_public() -> None:
    hidden = ["::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::a00:1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1%eth0", "224.0.0.1"]
    assert [is_public(address) for address in hidden] == [False] * len(hidden)
    assert is_public("93.184.216.34") and is_public("2606:2800:220:1:248:1893:25c8:1946")


async def test_files_of_the_allowed_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "shown"
    folder.mkdir()
    (folder / "a picture.png").write_bytes(PICTURE)
    (tmp_path / "secret.png").write_bytes(PICTURE)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "empty.png").touch()
    os.mkfifo(folder / "pipe")
    reader = MediaFiles(ServerConfig(allowed_local_media_path=str(folder)))
    assert await reader.read(f"file://{folder}/a%20picture.png", "messages") == PICTURE
    assert await reader.read(f"file://localhost{folder}/a%20picture.png", "messages") == PICTURE
    outside = [f"{folder}/../secret.png", f"{folder}/link.png", "/etc/passwd", f"{tmp_path}/secret.png", f"{folder}x", "/dev/zero"]
    for path in outside:
        assert "outside" in await refusal(reader, f"file://{path}")
    for path in ("none.png", "empty.png", "pipe", "", "a%00b"):
        await asyncio.wait_for(refusal(reader, f"file://{folder}/{path}"), 5)
    assert "machine" in await refusal(reader, f"file://elsewhere{folder}/a%20picture.png")
    assert "--allowed-local-media-path" in await refusal(files("*"), f"file://{folder}/a%20picture.png")


def test_a_folder_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--allowed-local-media-path"):
        ServerConfig(allowed_local_media_path=str(tmp_path / "none"))

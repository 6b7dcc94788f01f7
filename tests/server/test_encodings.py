"""Bodies that are packed, slow, or not what they say."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import orjson
import pytest

from fakes.running_server import Server, StartServer

BODY = orjson.dumps({"prompt": "é" * 300})


async def post(server: Server, raw: bytes, coding: str) -> tuple[int, dict]:
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    async with server.http.post("/tokenize", data=raw, headers=headers) as response:
        return response.status, await response.json()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "raw"),
    [("gzip", gzip.compress(BODY)), ("GZIP", gzip.compress(BODY)), ("deflate", zlib.compress(BODY)), ("deflate", raw_deflate(BODY))],
)
async def test_packed_bodies(server: Server, coding: str, raw: bytes) -> None:
    status, document = await post(server, raw, coding)
    assert (status, document["count"]) == (200, 601)


@pytest.mark.parametrize(
    ("coding", "raw", "status", "text"),
    [
        ("gzip", BODY, 400, "is something else"),
        ("deflate", BODY, 400, "is something else"),
        ("gzip", gzip.compress(BODY)[:-9], 400, "is cut off"),
        ("gzip", gzip.compress(BODY)[:-4], 400, "is cut off"),
        ("gzip", b"", 400, "is cut off"),
        ("gzip", gzip.compress(BODY) + b"more", 400, "bytes after its end"),
        ("br", BODY, 415, "'br' is not supported"),
        ("gzip, gzip", BODY, 415, "not supported"),
    ],
)
async def test_an_encoding_that_lies_is_the_clients_fault(server: Server, coding: str, raw: bytes, status: int, text: str) -> None:
    got, document = await post(server, raw, coding)
    assert got == status
    assert text in document["error"]["message"]


async def test_a_body_that_never_ends_is_given_up(start_server: StartServer) -> None:
    server = await start_server(body_timeout_s=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{")
    answer = await asyncio.wait_for(reader.read(), 15)
    assert b" 408 " in answer
    assert b"--body-timeout-s" in answer
    writer.close()


async def test_more_than_the_limit_is_taken_in_long_data_uris_only(start_server: StartServer) -> None:
    server = await start_server(max_body_bytes=200_000)
    for prompt, status in (
        ("a" * 210_000, 413),
        ("data:" + "a" * 210_000, 400),
        (["data:" + "a" * 60_000] * 4, 413),
        ("data:é" + "a" * 210_000, 413),
    ):
        got, _ = await server.post("/v1/completions", {"prompt": prompt})
        assert got == status

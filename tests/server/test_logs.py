"""What the log tells of requests: ids, the access log, one JSON object a line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from fakes.running_server import StartServer
from fakes.scripted_engine import ScriptedEngine, endless_script
from octavo import log


class Lines:
    """What is written to standard error."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self._texts: list[str] = []

    @property
    def texts(self) -> list[str]:
        self._texts += self._capture.readouterr().err.splitlines()
        return self._texts

    @property
    def objects(self) -> list[dict]:
        return [json.loads(line) for line in self.texts]

    async def of_access(self, count: int) -> list[dict]:
        """The access lines, once there are `count`: a request ends a moment after its client has the answer."""
        for _ in range(500):
            found = [each for each in self.objects if each["logger"].endswith("access_log")]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)
        raise AssertionError(self.texts)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    ours, everybody = logging.getLogger("octavo"), logging.getLogger()
    before = ours.handlers[:], ours.level, ours.propagate, everybody.handlers[:]
    yield Lines(capsys)
    ours.handlers[:], ours.propagate, everybody.handlers[:] = before[0], before[2], before[3]
    ours.setLevel(before[1])


async def test_each_request_is_a_json_line_with_the_id_of_its_answer(start_server: StartServer, lines: Lines):
    log.configure(format="json")
    server = await start_server(access_log=True)
    ids = []
    for path, body, headers in (
        ("/v1/completions", {"prompt": "a"}, {}),
        ("/v1/completions", {"prompt": "a", "stream": True}, {"X-Request-Id": "mine"}),
        ("/v1/completions", {}, {}),
        ("/no%0Awhere?key=secret", {}, {}),
    ):
        async with server.http.post(path, json=body, headers=headers) as response:
            size = len(await response.read())
            ids.append(response.headers["X-Request-Id"])
    written = await lines.of_access(4)
    assert [each["request_id"] for each in written] == ids
    assert ids[0].startswith("cmpl-")
    assert ids[1] == "mine"
    assert [(each["method"], each["path"], each["status"]) for each in written] == [
        ("POST", "/v1/completions", 200),
        ("POST", "/v1/completions", 200),
        ("POST", "/v1/completions", 400),
        ("POST", "/no%0Awhere", 404),
    ]
    assert written[3]["bytes"] == size
    assert written[1]["bytes"] > 100
    assert all(each["client"] == "127.0.0.1" and each["level"] == "info" and each["duration_s"] > 0 for each in written)
    assert len(set(ids)) == 4


async def test_a_client_that_went_away_is_logged_as_such(start_server: StartServer, lines: Lines):
    log.configure(format="json")
    server = await start_server(ScriptedEngine(script=endless_script(0.001)), access_log=True)
    response = await server.http.post("/v1/completions", json={"prompt": "a", "stream": True})
    await response.content.readany()
    response.close()
    [line] = await lines.of_access(1)
    assert line["status"] == 499
    assert line["request_id"].startswith("cmpl-")


async def test_a_fault_names_the_request(start_server: StartServer, lines: Lines, monkeypatch: pytest.MonkeyPatch):
    log.configure(format="json")
    engine = ScriptedEngine()
    server = await start_server(engine)
    monkeypatch.setattr(engine, "submit", lambda _: 1 / 0)
    async with server.http.post("/v1/completions", json={"prompt": "a"}) as response:
        assert response.status == 500
        name = response.headers["X-Request-Id"]
    [line] = [each for each in lines.objects if each["level"] == "error"]
    assert line["request_id"] == name
    assert "ZeroDivisionError" in line["exception"]
    log.configure()
    async with server.http.post("/v1/completions", json={"prompt": "a"}, headers={"X-Request-Id": "mine"}):
        pass
    assert any(" ERROR   [mine] a request failed inside the server" in text for text in lines.texts)


async def test_without_the_flag_requests_write_nothing(start_server: StartServer, lines: Lines):
    log.configure()
    server = await start_server()
    await server.post("/v1/completions", {"prompt": "a"})
    assert lines.texts == []


def test_other_libraries_write_json_too(lines: Lines):
    log.configure(format="json")
    logging.getLogger("somebody").warning("two\nlines %s", "here")
    [line] = lines.objects
    assert (line["message"], line["logger"]) == ("two\nlines here", "somebody")
    assert line["time"].endswith("Z")
    assert "request_id" not in line

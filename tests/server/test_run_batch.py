"""`octavo run-batch`: a file of requests in, a file of answers out, none twice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fakes.scripted_engine import ScriptedEngine
from octavo.cli.run_batch import _remaining, read_batch, run_batch
from octavo.errors import InvalidRequestError


def line(custom_id: str, body: dict | None = None, url: str = "/v1/chat/completions", **more: object) -> str:
    body = {"messages": [{"role": "user", "content": custom_id}]} if body is None else body
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more}) + "\n"


async def answers(lines: list[str], concurrency: int = 3) -> tuple[int, dict[str, dict]]:
    output = io.StringIO()
    num_failed = await run_batch(ScriptedEngine(), read_batch(iter(lines)), output, concurrency)
    entries = [json.loads(entry) for entry in output.getvalue().splitlines()]
    assert len(entries) == len(lines)
    return num_failed, {entry["custom_id"]: entry["response"] for entry in entries}


async def test_each_request_has_its_answer() -> None:
    lines = [line(f"chat-{index}") for index in range(10)] + [line("text", {"prompt": "a b"}, "/v1/completions")]
    num_failed, found = await answers(lines)
    assert num_failed == 0
    assert all(response["status_code"] == 200 for response in found.values())
    assert found["chat-3"]["body"]["choices"][0]["message"]["content"] == "Hello, wörld!"
    assert found["text"]["body"]["object"] == "text_completion"


async def test_a_request_that_is_refused_leaves_the_others_alone() -> None:
    num_failed, found = await answers([line("good"), line("bad", {"messages": []}), line("lost", {}, "/v1/nowhere")])
    assert num_failed == 2
    assert found["good"]["status_code"] == 200
    assert found["bad"]["status_code"] == 400
    assert "messages" in found["bad"]["body"]["error"]["message"]
    assert found["lost"]["status_code"] == 404


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "line 1 is not a JSON object"),
        ('{"url": "/v1/x", "body": {}}', "custom_id must be a string"),
        (line("a", url="http://x"), "url a path"),
        (line("a", method="GET"), "method must be POST"),
        (line("a", {"stream": True}), "no streams"),
        (line("a") + "\n" + line("a"), "line 3: the custom_id 'a' stands in an earlier line"),
    ],
)
def test_a_line_that_is_no_request_is_named(text: str, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        read_batch(io.StringIO(text))


def test_a_batch_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    requests = read_batch(iter([line("a"), line("b"), line("c")]))
    assert _remaining(requests, str(output)) == requests
    output.write_text('{"custom_id": "b"}\n{"custom_id": "a"')
    assert [request.custom_id for request in _remaining(requests, str(output))] == ["a", "c"]
    assert output.read_text() == '{"custom_id": "b"}\n'

"""The dashboard as a person sees it."""

from __future__ import annotations

import pytest

from fakes.browser_page import Page
from octavo.types import KvBlocks


@pytest.fixture
def board(page: Page) -> Page:
    page.browser.get(f"{page.url}/dashboard")
    return page


def number(page: Page, label: str) -> str:
    return page.find(f'[aria-label="{label}"] .number').text


def pixel(page: Page, index: int, across: int = 24) -> list[int]:
    """The colour of a block's first pixel, RGB, where blocks are `across` pixels wide, in the first row."""
    script = "return [...document.querySelector('#blocks canvas').getContext('2d').getImageData(arguments[0], 0, 1, 1).data].slice(0, 3)"
    return page.browser.execute_script(script, index * across)


def test_numbers_come_and_lines_grow(board: Page) -> None:
    board.wait(lambda _: number(board, "Preemptions") == "1 since the start")
    assert number(board, "Prefix cache hits") == "40 % of prompt tokens"
    assert number(board, "Time to first token, p50 / p99") == "– / – ms"
    assert board.find("#model").text == "toy"
    board.wait(lambda _: "L" in (board.find('[aria-label="Running"] path:last-child').get_attribute("d") or ""))


def test_latencies_of_a_request_are_shown(board: Page) -> None:
    board.browser.execute_script(
        "fetch('/v1/completions', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"prompt\": \"a\"}'})"
    )
    board.wait(lambda _: number(board, "Time to first token, p50 / p99") == "10 / 10 ms")
    assert number(board, "Between tokens, p50 / p99") == "2 / 2 ms"


def test_blocks_are_drawn_in_the_colours_of_the_legend(board: Page) -> None:
    board.wait(lambda _: "50 % of 100 blocks in use, 25 cached, 25 shared" in board.find("#kv-number").text)
    colours = [pixel(board, index) for index in range(8)]
    assert colours[:4] == colours[4:]
    legend = [
        board.find(f".legend .{name}").value_of_css_property("background-color").strip("rgba()").split(", ")[:3]
        for name in ("free", "held", "cached", "shared")
    ]
    assert [[str(part) for part in colour] for colour in colours[:4]] == legend
    assert not board.all("#blocks figcaption")


def test_blocks_change_as_the_cache_does(board: Page) -> None:
    board.find("#blocks canvas")
    board.engine.blocks = [KvBlocks(None, bytes(70_000)), KvBlocks(512, bytes((1,)) * 1000)]
    board.wait(lambda _: "1.4 % of 71,000 blocks" in board.find("#kv-number").text)
    assert [caption.text for caption in board.all("#blocks figcaption")] == [
        "full attention, the first 65,536 of 70,000 blocks",
        "attention to the last 512 tokens",
    ]


def test_a_server_that_cannot_tell_is_said(board: Page) -> None:
    board.find("#blocks canvas")
    board.engine.blocks = None
    board.wait(lambda _: board.find("#fault").is_displayed())
    board.engine.blocks = []
    board.wait(lambda _: not board.find("#fault").is_displayed())
    board.browser.get_log("browser")  # the browser's own line on the answer 500


def test_the_chat_page_leads_here_and_back(page: Page) -> None:
    page.find('a[href="/dashboard"]').click()
    page.find("#blocks canvas")
    page.find('a[href="/"]').click()
    assert page.find("#prompt")


def test_a_phone_shows_everything_within_its_width(board: Page) -> None:
    board.browser.set_window_size(390, 800)
    board.browser.get(f"{board.url}/dashboard")
    board.find("#blocks canvas")
    assert board.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert board.find("header").size["height"] < 70  # one row

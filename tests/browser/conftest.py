"""Headless Chromium in front of a server over the fake engine, which runs on a loop of its own."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from fakes.browser_page import WINDOW, Page
from fakes.scripted_engine import ScriptedEngine
from octavo.config import ServerConfig
from octavo.server.app import build_app
from octavo.server.listen import listen
from octavo.server.serve import make_runner


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("no chromium and chromedriver here (on Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--window-size={WINDOW[0]},{WINDOW[1]}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield made
    made.quit()


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine("Hello, **bold** <b>world</b>!")


@pytest.fixture
def page(browser: Any, engine: ScriptedEngine) -> Iterator[Page]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

    config = ServerConfig(port=0)
    listener = listen(config)
    runner = make_runner(build_app(engine, config))

    async def start() -> None:
        await runner.setup()
        await web.SockSite(runner, listener).start()

    run(start())
    browser.get_log("browser")
    browser.set_window_size(*WINDOW)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    browser.get(url)
    yield Page(browser, engine, url)
    faults = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    browser.get("about:blank")
    run(runner.cleanup())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert not faults  # of scripts, missing files, the content-security policy

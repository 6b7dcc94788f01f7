"""A browser and the server that it looks at, as the tests use them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fakes.scripted_engine import ScriptedEngine

__all__ = ["WINDOW", "Page"]

WINDOW = (1200, 900)


@dataclass
class Page:
    """A browser and the server that it looks at."""

    browser: Any
    engine: ScriptedEngine
    url: str

    def find(self, selector: str) -> Any:
        """The first element of a CSS selector, once there is one."""
        return self.wait(lambda browser: next(iter(browser.find_elements("css selector", selector)), None))

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def press(self, label: str) -> None:
        """Press the first button that says `label`."""
        self.wait(lambda browser: next((one for one in browser.find_elements("tag name", "button") if one.text == label), None)).click()

    def say(self, text: str) -> None:
        self.find("#prompt").send_keys(text + "\n")

    def wait(self, condition: Any) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, 20, poll_frequency=0.05).until(condition)

    def wait_for_answer(self) -> str:
        """Wait until nothing is on its way; return the last answer's text."""
        self.wait(lambda _: self.find("#go").text == "Send" and self.all(".assistant"))
        return self.all(".assistant .text")[-1].text

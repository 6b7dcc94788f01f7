"""Images on the chat page: shown before they are sent, sent as data URIs, kept with the conversation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from fakes.browser_page import Page
from fakes.scripted_engine import FakeImages


def test_a_model_of_text_offers_no_images(page: Page) -> None:
    page.wait(lambda browser: browser.find_elements("css selector", "#model option"))
    assert not page.find("#attach").is_displayed()


def test_an_image_is_shown_sent_and_kept(page: Page, tmp_path: Path) -> None:
    page.engine.images = FakeImages()
    page.browser.refresh()
    page.wait(lambda _: page.find("#attach").is_displayed())
    noise = np.random.default_rng(0).integers(0, 256, (1200, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.find("#file").send_keys(f"{tmp_path / 'noise.png'}\n{tmp_path / 'broken.png'}")
    page.wait(lambda _: len(page.all("#images img")) == 1)
    page.say("What is it?")
    page.wait_for_answer()
    assert not page.all("#images img")
    assert len(page.all(".user .bubble img")) == 1
    (request,) = page.engine.requests
    assert len(request.pictures) == len(request.media) == 1
    assert page.browser.execute_script("return document.querySelector('.bubble img').naturalWidth") == 1024
    page.browser.refresh()
    page.wait(lambda _: len(page.all(".user .bubble img")) == 1)
    page.say("And now?")
    page.wait(lambda _: len(page.engine.requests) == 2)
    assert len(page.engine.requests[1].media) == 1
    logged = [entry for entry in page.browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not logged, logged

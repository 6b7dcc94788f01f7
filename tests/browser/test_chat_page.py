"""The chat page as a person uses it."""

from __future__ import annotations

from fakes.browser_page import Page
from fakes.scripted_engine import endless_script


def test_an_empty_box_cannot_be_sent(page: Page) -> None:
    assert page.find("#go").get_attribute("disabled")
    page.find("#prompt").send_keys("  ")
    assert page.find("#go").get_attribute("disabled")
    page.find("#prompt").send_keys("x")
    assert not page.find("#go").get_attribute("disabled")
    page.say("")
    page.wait_for_answer()
    assert page.find("#go").get_attribute("disabled")


def test_an_answer_is_markdown_and_never_html(page: Page) -> None:
    page.say("Hi")
    assert page.wait_for_answer() == "Hello, bold <b>world</b>!"
    assert page.find(".assistant strong").text == "bold"
    assert not page.all(".assistant b")
    assert "tokens" in page.find(".facts").text


def test_blocks_of_markdown(page: Page) -> None:
    source = (
        "# T\n\n- a\n- b\n  - c\n\n1. x\n2. y\n\n> q\n\n| h | i |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1 < 2\n```\n\n---\n"
        "[good](https://example.org) [bad](javascript:alert(1)) *em* ~~no~~ <script>alert(1)</script>"
    )
    html = page.browser.execute_async_script(
        "const done = arguments[1]; import('/static/markdown.js').then(m => { const t = document.createElement('div');"
        " for (let n = 1; n <= arguments[0].length; n += 7) m.render(t, arguments[0].slice(0, n)); m.render(t, arguments[0]);"
        " const whole = document.createElement('div'); m.render(whole, arguments[0]); done([t.innerHTML, whole.innerHTML]); });",
        source,
    )
    assert html[0] == html[1]  # however it grew
    for part in ("<h3>T</h3>", "<li>c</li>", '<ol start="1"><li>x</li><li>y</li></ol>', "<blockquote><p>q</p></blockquote>", "<td>2</td>"):
        assert part in html[0]
    assert "x = 1 &lt; 2" in html[0]
    assert "<hr>" in html[0]
    assert 'href="https://example.org"' in html[0]
    assert 'href="javascript' not in html[0]
    assert "<script" not in html[0]


def test_stop_keeps_what_came(page: Page) -> None:
    page.engine._script = endless_script(0.05, "word ")
    page.say("Go on")
    page.wait(lambda _: page.all(".assistant .text") and page.all(".assistant .text")[-1].text)
    page.find("#go").click()
    assert page.wait_for_answer()
    assert "stopped" in page.find(".facts").text
    page.wait(lambda _: page.engine.num_live == 0)


def test_again_and_edit_change_the_conversation(page: Page) -> None:
    page.say("One")
    page.wait_for_answer()
    page.press("Again")
    page.wait_for_answer()
    assert len(page.all(".assistant")) == 1
    page.press("Edit")
    box = page.find(".turn.user textarea")
    box.clear()
    box.send_keys("Two")
    page.all(".turn.user .actions button")[-1].click()
    page.wait(lambda _: page.all(".bubble") and page.all(".bubble")[-1].text == "Two")
    page.wait_for_answer()
    assert len(page.all(".turn")) == 2
    assert len(page.engine.requests) == 3


def test_chats_survive_a_reload(page: Page) -> None:
    page.say("Remember me")
    page.wait_for_answer()
    page.browser.get(page.url)
    assert page.find(".bubble").text == "Remember me"
    page.press("New chat")
    assert page.find("#empty")
    assert [one.text for one in page.all("#chats button:first-child")] == ["Remember me"]


def test_settings_reach_the_engine(page: Page) -> None:
    page.find("#settings-open").click()
    for name, value in (("system", "Be kind."), ("temperature", "0.25"), ("top_k", "7"), ("seed", "5"), ("stop", "END")):
        field = page.find(f"#{name}")
        field.clear()
        field.send_keys(value)
    page.press("Done")
    page.say("Hi")
    page.wait_for_answer()
    params = page.engine.requests[-1].params
    assert (params.temperature, params.top_k, params.seed) == (0.25, 7, 5)
    assert list(params.stop) == ["END"]


def test_a_phone_shows_everything_within_its_width(page: Page) -> None:
    page.browser.set_window_size(390, 800)
    page.say("Hi")
    page.wait_for_answer()
    assert page.browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert page.find("header").size["height"] < 70  # one row
    assert page.find("#model").size["width"] > 100
    page.find("#drawer-open").click()
    assert page.find("#drawer.open")
    page.wait(lambda _: page.find('#drawer a[href="/dashboard"]').is_displayed())


def test_a_refusal_is_shown_and_the_text_comes_back(page: Page) -> None:
    page.engine.dead = "the runner broke"
    page.say("Hi")
    assert "runner broke" in page.find(".assistant .fault").text
    page.wait(lambda _: page.find("#prompt").get_attribute("value") == "Hi")

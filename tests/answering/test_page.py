"""The page in headless Chromium: typed with the keyboard, with and without JavaScript, wide and narrow."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")
pytest.importorskip("flask", reason="Flask is not installed (the extra tf_fastbert[serve])")
pytest.importorskip("waitress", reason="waitress is not installed (the extra tf_fastbert[serve])")
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (the extra tf_fastbert[browser-test])")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tf_fastbert.answering import service

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

# A character beyond 16 bits in front: JavaScript counts it as two. A tag: it must stay a text.
PASSAGE = "\U0001f431 the <b>cat</b> sat on the mat under a big tree .\n\nthe dog <script>window.broken = 1</script> ran ."
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


@pytest.fixture(scope="module")
def address(tiny: Any) -> Iterator[str]:
    server, (address,) = service.listen(service.create_app(tiny), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield address
    server.close()


@pytest.fixture(scope="module")
def open_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    opened = []

    def browser(javascript: bool = True) -> Any:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}", "--window-size=1280,900"):
            options.add_argument(flag)
        if not javascript:
            options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
        opened.append(webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER)))
        return opened[-1]

    yield browser
    for one in opened:
        one.quit()


@pytest.fixture(scope="module")
def browser(open_browser: Callable[..., Any]) -> Any:
    return open_browser()


def wait(browser: Any, condition: Callable[[Any], Any]) -> Any:
    return WebDriverWait(browser, 60).until(condition)


def all_of(browser: Any, selector: str) -> list[Any]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


def one_of(browser: Any, selector: str) -> Any:
    return browser.find_element(By.CSS_SELECTOR, selector)


def put(browser: Any, name: str, text: str) -> None:
    """As if pasted: send_keys knows only 16-bit characters."""
    field = browser.find_element(By.ID, name)
    field.clear()
    browser.execute_script("arguments[0].focus(); document.execCommand('insertText', false, arguments[1])", field, text)


def ask(browser: Any, address: str, questions: str = "who sat ?\nwhere is the dog ?") -> None:
    browser.get(address)
    put(browser, "passage", PASSAGE)
    field = browser.find_element(By.ID, "questions")
    field.send_keys(questions)
    field.send_keys(Keys.CONTROL, Keys.ENTER)
    wait(browser, lambda b: all_of(b, "article, .error"))


def test_answers_are_marked(browser: Any, address: str, tiny: Any) -> None:
    ask(browser, address)
    assert [title.text for title in all_of(browser, "h3")] == ["who sat ?", "where is the dog ?"]
    for article, question in zip(all_of(browser, "article"), ("who sat ?", "where is the dog ?")):
        best = tiny.ask(PASSAGE, question).best
        assert one_of(article, "mark").get_property("textContent") == PASSAGE[best.start : best.end]
        assert one_of(article, ".passage").get_property("textContent") == PASSAGE
        assert one_of(article, ".answer").text == best.text
        assert f"{100 * best.probability:.1f} %" in one_of(article, ".facts").text
    assert "ms for 2 questions" in one_of(browser, ".latency").text
    assert browser.execute_script("return window.broken") is None
    assert not all_of(browser, "#results b, #results script")


def test_candidates_are_marked_when_chosen(browser: Any, address: str, tiny: Any) -> None:
    ask(browser, address)
    article = all_of(browser, "article")[0]
    answers = tiny.ask(PASSAGE, "who sat ?").answers
    buttons = all_of(article, "td button")
    assert [button.text for button in buttons] == [answer.text for answer in answers[:5]]
    assert [button.get_attribute("aria-pressed") for button in buttons] == ["true", "false", "false", "false", "false"]
    for number in (3, 1):
        buttons[number].send_keys(Keys.ENTER)  # by keyboard
        expected = PASSAGE[answers[number].start : answers[number].end]
        assert one_of(article, "mark").get_property("textContent") == expected
        assert one_of(article, ".passage").get_property("textContent") == PASSAGE
        assert [i for i, button in enumerate(buttons) if button.get_attribute("aria-pressed") == "true"] == [number]
        assert buttons[number].text in one_of(browser, "#status").get_property("textContent")


def test_keyboard_and_screen_reader(browser: Any, address: str) -> None:
    ask(browser, address)
    assert browser.switch_to.active_element.get_attribute("id") == "results-title"
    assert browser.find_element(By.ID, "passage").accessible_name == "Passage"
    assert browser.find_element(By.ID, "questions").accessible_name == "Questions"
    assert one_of(browser, ".passage").accessible_name and one_of(browser, ".passage").aria_role == "region"
    assert one_of(browser, "table").accessible_name == "Candidates"
    assert browser.find_element(By.ID, "results").accessible_name == "Answers"
    assert one_of(browser, "html").get_attribute("lang") == "en"
    # From the top with Tab alone: the link past the form, the form, the passage that can be scrolled, the candidates.
    browser.execute_script("document.activeElement.blur(); getSelection().removeAllRanges()")
    browser.get(address)
    reached = []
    for _ in range(4):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("id") or element.text)
    assert reached == ["Skip to the answers", "passage", "questions", "Ask"]


def test_errors_are_told(browser: Any, address: str) -> None:
    ask(browser, address, "who " * 17)
    error = one_of(browser, ".error")
    assert error.get_attribute("role") == "alert" and "has 17 tokens" in error.text
    assert browser.title.startswith("Error: ")
    # The server is gone.
    put(browser, "questions", "who sat ?")
    browser.execute_script("document.getElementById('ask').action = 'http://127.0.0.1:9/'")
    one_of(browser, "button[type=submit]").click()
    wait(browser, lambda b: "cannot be reached" in one_of(b, ".error").text)
    assert one_of(browser, "button[type=submit]").text == "Ask"


def test_nothing_comes_from_elsewhere(browser: Any, address: str) -> None:
    browser.get_log("browser")
    ask(browser, address)
    loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert any(name.endswith("ask.js") for name in loaded) and all(name.startswith(address) for name in loaded)
    assert browser.get_log("browser") == []  # no breach of the Content-Security-Policy, no error


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_sideways_scrolling(browser: Any, address: str, width: int) -> None:
    try:
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 700}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        ask(browser, address)
        wide, visible = browser.execute_script("const page = document.documentElement; return [page.scrollWidth, page.clientWidth]")
        assert wide == visible
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_javascript(open_browser: Callable[..., Any], address: str, tiny: Any) -> None:
    browser = open_browser(javascript=False)
    browser.get(address)
    passage = "the cat sat on the mat .\nthe dog ran ."
    browser.find_element(By.ID, "passage").send_keys(passage)
    browser.find_element(By.ID, "questions").send_keys("who sat ?")
    one_of(browser, "button[type=submit]").click()
    wait(browser, lambda b: all_of(b, "article"))
    best = tiny.ask(passage, "who sat ?").best
    assert one_of(browser, "mark").text == passage[best.start : best.end]
    assert not all_of(browser, "td button")  # candidates are texts
    assert browser.find_element(By.ID, "passage").get_property("value") == passage

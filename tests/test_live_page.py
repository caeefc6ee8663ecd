"""The live view's page in a real Chromium, as a phone and as a desktop."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.live_setting import FakeRun

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install -e '.[dev]'")
wait: Any = pytest.importorskip("selenium.webdriver.support.wait")
exceptions: Any = pytest.importorskip("selenium.common.exceptions")
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver on this machine")
DESKTOP, PHONE = (1280, 800), (360, 740)
MIDDLE = "const c = document.querySelector('canvas'); return c.getContext('2d').getImageData(5, 5, 1, 1).data[0]"
VALUES = "return [...document.querySelectorAll('[data-value=NAME]')].map(item => item.textContent)"
STATE = "return document.getElementById('state').textContent"
NOTES = "return [...document.querySelectorAll('.note')].map(note => note.hidden ? '' : note.textContent)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def sized(browser: Any, size: tuple[int, int], dark: bool = False) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get_log("browser")


def until(browser: Any, script: str, expected: Any) -> Any:
    """The script's value, once `expected` (a value, or what tells) holds for it."""
    holds = expected if callable(expected) else lambda value: value == expected
    last: list[Any] = []

    def look(driver: Any) -> bool:
        last[:] = [driver.execute_script(script)]
        return bool(holds(last[0]))

    # While one page gives way to another, the elements that a script looks at may not be there.
    changing = [exceptions.JavascriptException]
    wait.WebDriverWait(browser, 30, 0.05, changing).until(look, lambda: f"last {last}")
    return last[0]


def complaints(browser: Any) -> list[Any]:
    """What the console has, but for the remark on how these tests look at pixels."""
    return [entry for entry in browser.get_log("browser") if "getImageData" not in entry["message"]]


def press_pause(browser: Any) -> None:
    browser.execute_script("document.getElementById('pause').click()")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_shows_moving_pictures_and_figures(browser: Any, size: tuple[int, int], tmp_path: Path) -> None:
    with FakeRun("door", "rtsp://192.0.2.7/a/long/name/of/a/stream/behind/the/house", side=320) as run:
        sized(browser, size)
        browser.get(run.base)
        until(browser, STATE, "Live")
        until(browser, NOTES, ["", ""])
        first = browser.execute_script(MIDDLE)
        until(browser, MIDDLE, lambda shade: shade != first)
        assert browser.execute_script(VALUES.replace("NAME", "people")) == ["2", "3"]
        until(browser, VALUES.replace("NAME", "latency"), lambda values: all(text.endswith(" ms") for text in values))
        until(browser, VALUES.replace("NAME", "fps"), lambda values: all(float(text) > 0 for text in values))
        run.counts["door"].dropped = 1234
        until(browser, VALUES.replace("NAME", "dropped"), ["1,234", "0"])
        assert browser.title == "5 people · darkstream"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
        sides = browser.execute_script("return document.querySelector('canvas').getBoundingClientRect().toJSON()")
        assert sides["width"] > 300
        assert sides["bottom"] <= size[1]
        assert browser.execute_script("return document.getElementById('pause').offsetHeight") >= 44
        browser.save_screenshot(str(tmp_path / "page.png"))
        screenshot = cv2.imread(str(tmp_path / "page.png"))
        assert screenshot is not None
        assert screenshot.shape[:2] == (size[1], size[0])
        assert complaints(browser) == []


def test_pause_holds_the_picture_and_says_so(browser: Any) -> None:
    with FakeRun() as run:
        sized(browser, PHONE, dark=True)
        browser.get(run.base)
        until(browser, NOTES, [""])
        press_pause(browser)
        until(browser, STATE, "Paused")
        held = browser.execute_script(MIDDLE)
        frames = run.counts["door"].frames
        until(browser, "return 0", lambda _: run.counts["door"].frames > frames + 20)
        assert browser.execute_script(MIDDLE) == held
        assert browser.execute_script(NOTES) == ["Paused"]
        press_pause(browser)
        until(browser, MIDDLE, lambda shade: shade != held)
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(16, 18, 22)"
        assert complaints(browser) == []


def test_it_says_when_frames_stop_and_comes_back_by_itself(browser: Any) -> None:
    with FakeRun() as run:
        sized(browser, DESKTOP)
        browser.get(run.base)
        until(browser, STATE, "Live")
        run.end()
        until(browser, STATE, "No signal")
        assert browser.execute_script(NOTES)[0].startswith("No signal for ")
        assert browser.execute_script(VALUES.replace("NAME", "people")) == ["–"]
        port = int(run.base.rsplit(":", 1)[1])
    until(browser, STATE, "No connection; trying again")
    with FakeRun(port=port):
        until(browser, STATE, "Live")
        until(browser, NOTES, [""])


def test_the_token_can_be_typed_in_and_leaves_the_address_line(browser: Any) -> None:
    with FakeRun(token="a-token-of-the-tests") as run:
        sized(browser, PHONE)
        browser.get(f"{run.base}/?token=wrong-token")
        assert "Token needed" in browser.title
        browser.find_element("id", "token").send_keys("a-token-of-the-tests")
        browser.find_element("css selector", "button").click()
        until(browser, STATE, "Live")
        assert browser.current_url == f"{run.base}/"
        until(browser, NOTES, [""])
        port = int(run.base.rsplit(":", 1)[1])
    with FakeRun(token="another-token-of-the-tests", port=port):
        until(browser, "return document.title", "Token needed · darkstream")

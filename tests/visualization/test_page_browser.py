"""The page in a browser: keyboard, mouse, what is drawn, and how it fits narrow and dark screens."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_ttr.execution.token_maps import TokenMaps
from hf_ttr.visualization import reuse_page
from hf_ttr.visualization.groups import mean_colours, paint_groups
from hf_ttr.visualization.heat import paint_heat
from hf_ttr.visualization.patches import patch_colours
from hf_ttr.visualization.reuse import paint_reuse

from .clips import patch


webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)

from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402


ROWS, COLUMNS, FRAMES, LAYERS = 4, 6, 5, 3
TOKENS = 1 + ROWS * COLUMNS
RANDOM = np.random.default_rng(0)
# Each patch has 16 x 16 pixels of one colour.
PIXELS = RANDOM.integers(60, 200, (FRAMES, ROWS, COLUMNS, 3), dtype=np.uint8).repeat(16, 1).repeat(16, 2)


def make_maps() -> TokenMaps:
    """Of the second frame on, the first row of patches is computed; the last layer merges and leaves out patches."""
    computed = torch.zeros(FRAMES, TOKENS, dtype=torch.bool)
    computed[0] = True
    computed[:, : 1 + COLUMNS] = True
    age = torch.arange(FRAMES)[:, None].repeat(1, TOKENS).masked_fill(computed, 0)
    groups = torch.arange(FRAMES * TOKENS).reshape(FRAMES, TOKENS, 1).repeat(1, 1, LAYERS + 1)
    groups[1:4, 1 + COLUMNS : 3 + COLUMNS, 3] = TOKENS + 1 + COLUMNS  # two patches in each of three frames
    groups[:, -1, 3] = -1
    return TokenMaps(computed=computed, age=age, error=age / 16, groups=groups)


MAPS = make_maps()


class Page:
    """What a person does with the page, and sees of it."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def open(self, path: Path, frame: int | None = 0) -> None:
        """Opens a page, and goes to a frame of it; `None` stays at the one that it begins with."""
        self.browser.get(path.as_uri())
        if frame is not None:
            self.run("change({ frame: arguments[0] })", frame)
        self.wait(lambda: self.pixel(0, 0)[3] == 255)

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end, "it did not come to be"
            time.sleep(0.01)

    def find(self, name: str) -> Any:
        return self.browser.find_element("id", name)

    def text(self, name: str) -> str:
        return self.find(name).get_property("textContent")

    def run(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def actions(self) -> Any:
        # The pointer of a person takes its time.
        return ActionChains(self.browser, duration=10)

    def press(self, *keys: str) -> None:
        self.actions().send_keys(*keys).perform()

    def click(self, name: str, share: float) -> None:
        """In the middle of an element's height, at that share of its width."""
        element = self.find(name)
        offset = round((share - 0.5) * element.size["width"])
        self.actions().move_to_element_with_offset(element, offset, 0).click().perform()

    def hover(self, row: int, column: int) -> None:
        element = self.find("picture")
        x = round((column + 0.5) / COLUMNS * element.size["width"] - element.size["width"] / 2)
        y = round((row + 0.5) / ROWS * element.size["height"] - element.size["height"] / 2)
        self.actions().move_to_element_with_offset(element, x, y).perform()

    def pixels(self, places: list[tuple[int, int]]) -> list[list[int]]:
        """The colours in the middle of patches."""
        return self.run(
            "const picture = document.getElementById('picture'), pen = picture.getContext('2d');"
            "return arguments[0].map(([row, column]) => [...pen.getImageData("
            "    column * picture.width, row * picture.height, 1, 1).data])",
            [((row + 0.5) / ROWS, (column + 0.5) / COLUMNS) for row, column in places],
        )

    def pixel(self, row: int, column: int) -> list[int]:
        """The colour in the middle of a patch."""
        return self.pixels([(row, column)])[0]

    def shows(self, expected: np.ndarray) -> bool:
        """Whether the middle of each patch has about the colour that it has in the picture."""
        places = [(row, column) for row in range(ROWS) for column in range(COLUMNS)]
        found = np.array(self.pixels(places))[:, :3]
        return bool(np.abs(found - [patch(expected, *place) for place in places]).max() <= 8)

    @property
    def place(self) -> tuple[str, str]:
        return self.text("frame-text"), self.text("layer-text")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    reuse_page(PIXELS, MAPS, path, title="A clip", settings={"threshold": 0.1}, fps=20)
    return path


def set_screen(browser: Any, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


@pytest.fixture
def page(browser: Any, path: Path) -> Iterator[Page]:
    set_screen(browser, 1200)
    page = Page(browser)
    page.open(path)
    yield page
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_frame_that_is_shown_first_is_one_where_something_happens(page, path, tmp_path):
    # Of the first frame, and after a cut, all is computed: that shows nothing of reuse.
    page.open(path, frame=None)
    assert page.place[0] == "2 of 5"
    lively = MAPS.computed.clone()
    lively[3, : 1 + 2 * COLUMNS], lively[4] = True, True
    reuse_page(PIXELS, TokenMaps(computed=lively), tmp_path / "lively.html")
    page.open(tmp_path / "lively.html", frame=None)
    assert page.text("frame-text") == "4 of 5"
    for maps in (TokenMaps(age=MAPS.age), TokenMaps(computed=torch.ones_like(lively))):
        reuse_page(PIXELS, maps, tmp_path / "other.html")
        page.open(tmp_path / "other.html", frame=None)
        assert page.text("frame-text") == "1 of 5"


def test_age_and_error_have_legends_of_their_own(page):
    legends = []
    for key in "34":
        page.press(key)
        legends.append(page.text("legend"))
    assert legends == ["age in frames 04", "relative error 00.25"]


def test_arrows_go_through_frames_and_layers(page):
    assert page.place == ("1 of 5", "before layer 1")
    page.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT, Keys.ARROW_UP)
    assert page.place == ("2 of 5", "before layer 2")
    page.press(*[Keys.ARROW_UP] * 9, *[Keys.ARROW_RIGHT] * 9)
    assert page.place == ("5 of 5", "after layer 3")
    page.press(*[Keys.ARROW_DOWN] * 9, *[Keys.ARROW_LEFT] * 9)
    assert page.place == ("1 of 5", "before layer 1")


def painted(overlay: str, frame: int, layer: int = 0) -> np.ndarray:
    grid = (ROWS, COLUMNS)
    if overlay == "frame":
        return PIXELS[frame]
    patches = {name: values[:, 1:].unflatten(1, grid).numpy() for name, values in MAPS.items()}
    if overlay == "computed":
        return paint_reuse(PIXELS[frame], patches["computed"][frame])
    if overlay == "groups":
        groups = patches["groups"][..., layer]
        means = mean_colours(np.stack([patch_colours(pixels, grid) for pixels in PIXELS]), groups)
        return paint_groups(PIXELS[frame], groups[frame], means[frame])
    return paint_heat(PIXELS[frame], patches[overlay][frame], float(patches[overlay].max()))


@pytest.mark.parametrize(
    ("keys", "overlay"), [("0", "frame"), ("01", "computed"), ("3", "age"), ("4", "error"), ("433", "age")], ids=str
)
def test_keys_switch_overlays_and_each_draws_what_the_pictures_do(keys, overlay, page):
    page.press(keys, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert page.shows(painted(overlay, frame=2))
    page.press(Keys.ARROW_RIGHT)
    assert not page.shows(painted(overlay, frame=2)) and page.shows(painted(overlay, frame=3))


def test_groups_have_their_mean_and_change_with_the_layer(page):
    page.press("2", Keys.ARROW_RIGHT)
    assert page.shows(painted("groups", frame=1))
    page.press(*[Keys.ARROW_UP] * 3)
    # The last patch was left out, and hatched.
    assert max(page.pixel(3, 5)[:3]) <= 90
    merged = painted("groups", frame=1, layer=3)
    for column in (0, 1):
        assert np.abs(np.array(page.pixel(1, column)[:3]) - patch(merged, 1, column)).max() <= 8


def test_overlays_are_buttons_that_leave_the_keys_alone(page):
    buttons = page.find("overlays").find_elements("tag name", "button")
    assert [button.text for button in buttons] == ["Frame 0", "Reuse 1", "Groups 2", "Age 3", "Error 4"]
    for number, overlay in ((3, "age"), (0, "frame"), (1, "computed")):
        buttons[number].click()
        pressed = [button.get_attribute("aria-pressed") for button in buttons]
        assert pressed == [str(place == number).lower() for place in range(5)]
        assert page.shows(painted(overlay, frame=0))
    page.press(Keys.ARROW_RIGHT)
    assert page.place[0] == "2 of 5"


def test_space_plays_and_pauses(page):
    page.press(" ")
    assert page.text("play").startswith("Pause")
    page.wait(lambda: page.place[0] == "3 of 5")
    page.wait(lambda: page.place[0] == "1 of 5")  # it begins again
    page.press(" ")
    stopped = page.place
    time.sleep(0.2)
    assert page.place == stopped and page.text("play").startswith("Play")
    page.find("play").click()
    page.wait(lambda: page.place != stopped)


@pytest.mark.parametrize(("slider", "place"), [("frame", ("5 of 5", "")), ("layer", ("", "after layer 3"))], ids=str)
def test_sliders_are_dragged_and_clicked(slider, place, page):
    start, width = page.place, page.find(slider).size["width"]
    chain = page.actions().move_to_element_with_offset(page.find(slider), 8 - width // 2, 0)
    chain.click_and_hold().move_by_offset(width - 16, 0).release().perform()
    expected = tuple(new or old for new, old in zip(place, start))
    assert page.place == expected
    page.click(slider, 0.02)
    assert page.place == start


def test_slider_of_layers_keeps_its_arrows(page):
    page.click("layer", 0.02)
    page.press(Keys.ARROW_RIGHT)
    assert page.place == ("1 of 5", "before layer 2")


def test_timeline_shows_shares_and_goes_to_a_frame(page):
    line = "const line = document.getElementById('timeline');"
    column = "const x = (arguments[0] + 0.5) / 5 * line.width;"
    count = (
        "const data = line.getContext('2d').getImageData(x, 0, 1, line.height).data; let lit = 0;"
        "for (let i = 0; i < data.length; i += 4) lit += data[i] === 215 && data[i + 1] === 103 && data[i + 2] === 0;"
        "return lit / line.height"
    )
    # 5 of 56 pixels are margin above and below; a frame line covers those of the frame shown.
    assert page.run(line + column + count, 0) > 0.7
    assert abs(page.run(line + column + count, 2) - 46 / 56 * 7 / 25) < 0.03
    page.click("timeline", 0.7)
    assert page.place[0] == "4 of 5"
    page.click("timeline", 0.1)
    assert page.place[0] == "1 of 5"


def test_wheel_over_the_picture_goes_through_frames(page):
    origin = ScrollOrigin.from_element(page.find("picture"))
    for distance, frame in ((120, "2 of 5"), (120, "3 of 5"), (-120, "2 of 5")):
        page.actions().scroll_from_origin(origin, 0, distance).perform()
        page.wait(lambda frame=frame: page.place[0] == frame)
    assert page.run("return window.scrollY") == 0


def test_hovering_tells_of_a_patch_and_lights_its_group(page):
    page.press("2", Keys.ARROW_RIGHT, *[Keys.ARROW_UP] * 3)
    before = {place: page.pixel(*place) for place in ((1, 0), (1, 1), (0, 0), (2, 4))}
    page.hover(1, 1)
    assert page.find("tooltip").is_displayed()
    assert page.text("tooltip").split("\n") == [
        "frame 2",
        "row 2, column 2",
        "reused",
        "age 1 frame",
        "error 0.0625",
        "group of 6 tokens, after layer 3",
    ]
    assert page.pixel(1, 0) == before[1, 0] and page.pixel(1, 1) == before[1, 1]
    for place in ((0, 0), (2, 4)):
        assert np.abs(np.array(page.pixel(*place)[:3]) - 0.6 * np.array(before[place][:3])).max() <= 2
    page.hover(0, 2)
    assert "computed\nage 0 frames\nerror 0\ngroup of 1 token," in page.text("tooltip")
    page.hover(3, 5)
    assert page.text("tooltip").endswith("left out, after layer 3")
    page.actions().move_to_element(page.find("title")).perform()
    assert not page.find("tooltip").is_displayed()
    assert {place: page.pixel(*place) for place in before} == before


def test_numbers_compare_with_dense(page):
    assert page.find("numbers").text.split("\n") == [
        *["dense", "125 tokens in 5 frames"],
        *["computed", "53 tokens, 42 %, 2.4x fewer"],
        *["reused", "72 tokens"],
        *["rows", "125 before layer 1, 1.0x fewer"],
    ]
    assert page.find("settings").text.split("\n") == ["threshold", "0.1"]
    page.press(*[Keys.ARROW_UP] * 3, Keys.ARROW_RIGHT)
    assert page.text("numbers").endswith("rows115 after layer 3, 1.1x fewer")
    assert page.text("status") == "frame 2, 7 of 25 tokens computed, 23 rows after layer 3"


def test_focus_is_seen_and_reaches_every_control(page):
    reached = []
    for _ in range(8):
        page.press(Keys.TAB)
        focused = page.browser.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.text)
        assert focused.value_of_css_property("outline-style") == "solid"
    assert reached == ["Frame 0", "Reuse 1", "Groups 2", "Age 3", "Error 4", "play", "frame", "layer"]
    for name in ("frame", "layer"):
        assert page.find(name).accessible_name.startswith(name.capitalize())
        assert page.find(name).get_attribute("aria-valuetext")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme(scheme, page):
    set_screen(page.browser, 1200, scheme)
    colours = {
        name: [int(number) for number in page.run(f"return getComputedStyle(document.body).{name}")[4:-1].split(",")]
        for name in ("backgroundColor", "color")
    }
    darker, lighter = sorted(colours, key=lambda name: sum(colours[name]))
    assert (darker == "backgroundColor") == (scheme == "dark")
    assert min(colours[lighter]) - max(colours[darker]) > 180


def test_narrow_screens_need_no_scrolling_sideways(page, path, tmp_path):
    set_screen(page.browser, 390)
    reuse_page(
        PIXELS, MAPS, tmp_path / "a.html", title="a" * 200, captions=["b" * 90] * 5, settings={"c" * 90: "d" * 90}
    )
    for name in (path, tmp_path / "a.html"):
        page.open(name)
        assert page.run("return document.documentElement.scrollWidth") <= 390
        assert page.find("picture").size["width"] <= 390


def test_texts_are_harmless(page, tmp_path):
    bad = "</script><img src=x onerror='window.harm = 1'><script>window.harm = 1</script>"
    reuse_page(PIXELS, MAPS, tmp_path / "a.html", title=bad, captions=[bad] * 5, settings={bad: bad})
    page.open(tmp_path / "a.html")
    page.hover(1, 1)
    assert page.text("title") == bad and page.browser.title == bad
    assert page.text("tooltip").startswith(f"frame 1 ({bad})")
    assert page.find("settings").text == f"{bad}\n{bad}"
    assert page.run("return window.harm === undefined")


def test_nothing_is_loaded(page):
    names = page.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert all(name.startswith("data:") for name in names)


def test_one_tall_frame_without_prefix_and_with_one_map(page, tmp_path):
    frame = RANDOM.integers(0, 256, (1, 90, 30, 3), dtype=np.uint8)
    reuse_page(frame, TokenMaps(computed=torch.eye(12)[:1] > 0), tmp_path / "a.html", prefix_tokens=0)
    page.open(tmp_path / "a.html")
    assert page.find("overlays").text.split("\n") == ["Frame 0", "Reuse 1"]
    assert page.text("overlay-names") == "Frame (0), Reuse (1)"
    assert not page.find("layers").is_displayed() and not page.find("play").is_enabled()
    page.press("3", Keys.ARROW_RIGHT, Keys.ARROW_UP, " ")
    assert page.text("frame-text") == "1 of 1"
    size = page.find("picture").size
    assert abs(size["height"] / size["width"] - 3) < 0.05 and size["height"] <= 900
    # Away from the centre, which lies on the corner of four patches.
    page.actions().move_to_element_with_offset(page.find("picture"), -4, 4).perform()
    assert page.text("tooltip").split("\n")[1:] == ["row 4, column 1", "reused"]

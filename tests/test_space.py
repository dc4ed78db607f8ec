"""The Space: what it computes, and the page in a browser where gradio is installed."""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from hf_ttr.video import VideoDecodingError, read_frames

from .test_examples_folder import load


ROOT = Path(__file__).resolve().parent.parent
SPACE = ROOT / "examples" / "space"


@pytest.fixture(scope="module")
def app() -> ModuleType:
    module = load("space/app.py")
    module.NUM_FRAMES = 6  # type: ignore[attr-defined]
    return module


def test_header() -> None:
    header = yaml.safe_load((SPACE / "README.md").read_text().split("---\n")[1])
    assert header["sdk"] == "gradio" and (SPACE / header["app_file"]).is_file()
    assert re.fullmatch(r"\d+\.\d+\.\d+", header["sdk_version"]) and len(header["short_description"]) <= 60
    assert (SPACE / "requirements.txt").read_text().split() == ["hf-ttr"]


def test_a_clip(app: ModuleType, tmp_path: Path) -> None:
    answer = app.classify(app.CLIPS[0], 0.1, str(tmp_path))
    assert max(answer.dense, key=answer.dense.get) == max(answer.reuse, key=answer.reuse.get) == "space shuttle"
    assert sum(answer.dense.values()) == pytest.approx(1, abs=1e-5)
    assert 0 < answer.computed_share < 0.6 and answer.multiply_add_ratio > 1.5
    frames, info = read_frames(answer.overlay)
    assert len(frames) == 6 and info.width > info.height
    assert f"{answer.computed_share:.0%} of the tokens computed" in answer.summary


def test_threshold_0_computes_everything(app: ModuleType, tmp_path: Path) -> None:
    answer = app.classify(app.CLIPS[0], 0.0, str(tmp_path))
    assert answer.computed_share == 1.0
    assert answer.reuse == pytest.approx(answer.dense, abs=1e-4)


def test_a_videomae(app: ModuleType, tmp_path: Path) -> None:
    answer = app.classify(app.CLIPS[1], 0.4, str(tmp_path), str(app.ASSETS / "videomae-demo"))
    # A frame of each tubelet.
    assert len(read_frames(answer.overlay)[0]) == 8 and answer.computed_share < 1


def test_a_file_that_is_no_video(app: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(bytes(100))
    with pytest.raises(VideoDecodingError):
        app.classify(str(tmp_path / "clip.mp4"), 0.1, str(tmp_path))


def test_a_file_that_is_too_large(app: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LARGEST_UPLOAD", 1000)
    with pytest.raises(VideoDecodingError, match="the clip has .* MiB, and at most .* are taken here; upload"):
        app.classify(app.CLIPS[0], 0.1, str(tmp_path))


def test_scores_are_as_the_model_was_trained_for(app: ModuleType) -> None:
    logits = torch.tensor([0.0, 2.0])
    config = SimpleNamespace(id2label={0: "a", 1: "b\x1b[2J"}, problem_type="multi_label_classification")
    found = app.scores(SimpleNamespace(config=config), logits)
    assert found == pytest.approx({"a": 0.5, "b\\x1b[2J": 1 / (1 + math.exp(-2))})


def test_nothing_is_left_of_a_click(app: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in for gradio, which need not be installed."""
    calls: dict[str, Any] = {}

    class Part:
        """Whatever is made of gradio's parts, and called on them."""

        def __init__(self, *args: Any, **options: Any) -> None:
            calls[type(self).__name__] = options

        def __enter__(self) -> Part:
            return self

        def __exit__(self, *args: object) -> None: ...

        def click(self, **options: Any) -> None:
            calls["show"], calls["click"] = options["fn"], options

        def release(self, **options: Any) -> None:
            calls["release"] = options

        def queue(self, **options: Any) -> Part:
            calls["queue"] = options
            return self

    class Gradio(ModuleType):
        Error = type("Error", (Exception,), {})

        def __getattr__(self, name: str) -> Any:
            return type(name, (Part,), {})

    monkeypatch.setitem(sys.modules, "gradio", Gradio("gradio"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    app.build()
    assert calls["queue"]["max_size"] and calls["Blocks"]["delete_cache"] and calls["click"]["concurrency_limit"] == 1
    # Programs are offered one call, by its name.
    assert calls["click"]["api_name"] == "classify"
    assert calls["release"]["api_visibility"] == calls["Examples"]["api_visibility"] == "private"
    # The page begins with a result.
    assert list(tmp_path.iterdir()) == []
    (shown,) = calls["show"](app.CLIPS[0], 0.1)
    assert shown[3].endswith("reuse.mp4") and list(tmp_path.iterdir()) == []
    (tmp_path / "clip.mp4").write_bytes(bytes(100))
    with pytest.raises(Gradio.Error, match="clip.mp4") as caught:
        next(calls["show"](str(tmp_path / "clip.mp4"), 0.1))
    assert str(tmp_path) not in str(caught.value) and caught.value.__cause__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of the app in a process of its own."""
    if find_spec("gradio") is None:
        pytest.skip("gradio is not installed.")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    options = {"NUM_FRAMES": "8", "GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    options |= {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "HF_HUB_OFFLINE": "1"}
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=SPACE, env={**os.environ, **options}, stdout=log, stderr=log
    )
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and process.poll() is None:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        else:
            pytest.fail((tmp_path / "log").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        log.close()


def test_in_a_browser(address: str, tmp_path: Path) -> None:
    if find_spec("selenium") is None or not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("selenium, chromium and chromedriver are not installed.")
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=str(shutil.which("chromedriver")))
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.get(address)

        def wait(what: Any) -> Any:
            return WebDriverWait(browser, 120).until(what)

        def text(name: str) -> str:
            return browser.find_element(By.ID, name).text

        # A result is there before anything is clicked, and the clip beside the button.
        wait(lambda _: browser.find_elements(By.ID, "classify"))
        wait(lambda _: "tokens computed" in text("summary"))
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False},
        )
        for name in ("clip", "classify", "dense", "reuse", "summary", "overlay"):
            place = browser.find_element(By.ID, name).rect
            assert place["y"] >= 0 and place["y"] + place["height"] <= 1000, (name, place)
        assert "space shuttle" in text("dense") and "space shuttle" in text("reuse")
        wait(lambda _: browser.execute_script("return document.querySelector('#overlay video')?.videoWidth > 0"))
        assert browser.execute_script("return document.querySelector('#overlay video').error") is None
        if folder := os.environ.get("HF_TTR_SCREENSHOTS"):
            wait(lambda _: browser.execute_script("return document.querySelector('#overlay video').currentTime > 0.2"))
            browser.save_screenshot(os.path.join(folder, "space.png"))
        before = text("summary")
        number = browser.find_element(By.CSS_SELECTOR, "input[type=number]")
        browser.execute_script(
            "arguments[0].value = 0; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))", number
        )
        browser.find_element(By.ID, "classify").click()
        wait(lambda _: text("summary") != before and "100% of the tokens computed" in text("summary"))
    finally:
        browser.quit()

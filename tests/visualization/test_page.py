"""The page as a file: it needs no other, and holds the exact maps. What it does in a browser is tested beside this."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from hf_ttr.visualization import reuse_page

from .clips import FRAMES, make_groups, make_maps


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text in each kind of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.found[-1][0] if self.found else "", []).append(data)


def page(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "page.html"
    reuse_page(**{"frames": FRAMES, "maps": make_maps(), "path": path, **changes})
    return path.read_text(encoding="utf-8")


def payload(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def decode(entry: dict[str, Any]) -> np.ndarray:
    kind = np.dtype(entry["type"].removesuffix("Array").lower()).newbyteorder("<")
    return np.frombuffer(base64.b64decode(entry["data"]), kind).reshape(entry["shape"])


def test_page_needs_no_other_file(tmp_path):
    text = page(tmp_path)
    for tag, attributes in Elements(text).found:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest|import\(", text)
    # A browser would refuse to load anything.
    policy = next(attributes for tag, attributes in Elements(text).found if "http-equiv" in attributes)
    assert policy["content"].startswith("default-src 'none'; img-src data:;")


def test_payload_holds_the_exact_maps(tmp_path):
    groups = make_groups()
    groups[3, 5:9, 2:] = 80
    groups[4, 7, 3] = -1
    maps = make_maps(groups=groups, error=torch.rand(9, 25))
    found = payload(page(tmp_path, maps=maps))["maps"]
    assert list(found) == ["computed", "age", "error", "groups"]
    assert (decode(found["computed"]).astype(bool) == maps.computed.numpy()).all()
    assert (decode(found["age"]) == maps.age.numpy()).all()
    assert (decode(found["error"]) == maps.error.numpy()).all()
    assert (decode(found["groups"]).astype(int) - 1 == maps.groups.numpy()).all()


@pytest.mark.parametrize(("frames", "kind"), [(9, "Uint16Array"), (2700, "Uint32Array")], ids=["few", "many"])
def test_groups_take_no_more_room_than_they_need(frames, kind, tmp_path):
    pixels = np.zeros((frames, 4, 6, 3), dtype=np.uint8)
    maps = make_maps(frames, computed=None, age=None, error=None)
    found = payload(page(tmp_path, frames=pixels, maps=maps))["maps"]
    assert found["groups"]["type"] == kind
    assert (decode(found["groups"]).astype(int) - 1 == maps.groups.numpy()).all()


def test_frames_are_pictures_of_the_frames(tmp_path):
    frames = FRAMES.copy()
    frames[:, :16] = (200, 60, 30)
    found = payload(page(tmp_path, frames=frames, frame_size=24))["frames"]
    assert len(found) == 9
    start = "data:image/jpeg;base64,"
    assert all(url.startswith(start) for url in found)
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(found[0].removeprefix(start))))
    assert picture.size == (24, 16)
    assert np.abs(np.asarray(picture)[2, 2].astype(int) - (200, 60, 30)).max() < 6


def test_maps_that_are_missing_are_left_out(tmp_path):
    found = payload(page(tmp_path, maps=make_maps(age=None, groups=None)))
    assert list(found["maps"]) == ["computed", "error"]
    assert list(found["scales"]) == ["error"] and "layers" not in found and "patchColours" not in found


def test_scales_end_at_the_largest_or_where_they_are_told_to(tmp_path):
    scales = payload(page(tmp_path, maximum={"error": 0.25}))["scales"]
    assert scales["age"] == {"label": "age in frames", "maximum": 8.0, "largest": 8.0}
    assert scales["error"] == {"label": "relative error", "maximum": 0.25, "largest": 0.5}


def test_texts_are_escaped(tmp_path):
    bad = "</script><script>alert(1)</script><!-- __DATA__ & \"'\ud83d"
    text = page(tmp_path, title=bad, captions=[bad] * 9, settings={bad: bad})
    elements = Elements(text)
    assert [tag for tag, _ in elements.found].count("script") == 2
    assert elements.texts["h1"][0] == bad.replace("\ud83d", "?")
    found = payload(text)
    assert found["title"] == bad and found["captions"] == [bad] * 9 and found["settings"] == [[bad, bad]]


BAD = {
    "no-maps": ({"maps": make_maps(computed=None, age=None, error=None, groups=None)}, "maps are empty"),
    "maps-of-calls": ({"maps": make_maps(age=torch.zeros(8, 25))}, "map of age is of 8 frames of 25 tokens"),
    "maps-of-a-batch": ({"maps": make_maps(computed=torch.zeros(1, 9, 25) > 0)}, "must be boolean"),
    "frames": ({"frames": FRAMES[:8]}, "8 frames, but the set of maps is of 9"),
    "captions": ({"captions": ["a"]}, "1 captions for the 9 frames"),
    "grid": ({"grid": (5, 5)}, "the grid is 5 x 5"),
    "fps": ({"fps": 0}, "fps is 0"),
    "frame-size": ({"frame_size": 0}, "frame_size is 0"),
    "maximum": ({"maximum": {"age": 0}}, "maximum is 0"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence_and_leaves_no_file(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        page(tmp_path, **changes)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hf_ttr.streaming.names import origin, said_kind, shown_names, unique_names


@pytest.mark.parametrize(
    "source, name",
    [
        ("rtsp://admin:S3cret@door", "door"),
        ("rtsp://admin:S3cret@door/", "door"),
        ("rtsp://admin:S3cret@door/live/1", "1"),
        ("http://door/live.ts?token=S3cret/x", "live.ts?token=***"),
        ("/data/a\x1b[2Jb.mp4", "a\\x1b[2Jb.mp4"),
        ("/data/", "data"),
        ("live:http://door/video", "video"),
        ("file:http://admin:S3cret@door", "door"),
        (b"bytes", "stream 0"),
    ],
)
def test_names_can_be_shown_to_anybody(source: Any, name: str) -> None:
    assert unique_names([source]) == [name]


def test_names_are_unique_whatever_they_are() -> None:
    sources = ["x/a (2)", "a", "y/a", "z/a", b"", b"", "stream 4"]
    names = unique_names(sources)
    assert names == ["a (2)", "a", "a (3)", "a (4)", "stream 4", "stream 5", "stream 4 (2)"]


def test_names_of_the_caller() -> None:
    assert shown_names({"rtsp://u:p@door": 1, 7: 2}) == {"rtsp://door": 1, "7": 2}
    for same in ({7: 1, "7": 2}, {"rtsp://u:p@door": 1, "rtsp://v:q@door": 2}):
        with pytest.raises(ValueError, match="two streams have the name '.*'; give each its own"):
            shown_names(same)


def test_what_a_source_is_known_by() -> None:
    assert origin("a.mp4") == os.path.abspath("a.mp4") == origin({"path": "a.mp4", "bytes": None})
    # Another password is the same camera.
    assert origin("rtsp://u:p@door/1?key=a") == origin("rtsp://u:q@door/1?key=b") == "rtsp://door/1?key=***"
    assert origin(b"bytes") is None and origin(iter([])) is None and origin({"path": None, "bytes": b"x"}) is None
    # Whether it is live may be said or not.
    assert origin("live:rtsp://door/1") == origin("rtsp://door/1") and origin("live:a.mp4") == origin("a.mp4")


@pytest.mark.parametrize(
    "text, said",
    [
        ("live:http://door/video", ("http://door/video", True)),
        ("LIVE:/dev/video0", ("/dev/video0", True)),
        ("file:http://door/video", ("http://door/video", False)),
        ("file:///data/a.mp4", ("file:///data/a.mp4", None)),
        ("file:/data/a.mp4", ("file:/data/a.mp4", None)),
        ("http://door/live:1", ("http://door/live:1", None)),
        ("live:", ("live:", None)),
    ],
)
def test_what_is_said_in_front_of_a_source(text: str, said: tuple[str, bool | None]) -> None:
    assert said_kind(text) == said


def test_a_file_of_that_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "live:a.mp4").touch()
    assert said_kind("live:a.mp4") == ("live:a.mp4", None)

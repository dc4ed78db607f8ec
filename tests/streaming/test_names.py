from __future__ import annotations

import os
from typing import Any

import pytest

from hf_ttr.streaming.names import origin, shown_names, unique_names


@pytest.mark.parametrize(
    "source, name",
    [
        ("rtsp://admin:S3cret@door", "door"),
        ("rtsp://admin:S3cret@door/", "door"),
        ("rtsp://admin:S3cret@door/live/1", "1"),
        ("http://door/live.ts?token=S3cret/x", "live.ts?token=***"),
        ("/data/a\x1b[2Jb.mp4", "a\\x1b[2Jb.mp4"),
        ("/data/", "data"),
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

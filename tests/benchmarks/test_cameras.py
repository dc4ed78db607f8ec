"""Cameras on a core: what is encoded, and what the tables make of what was measured."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from benchmarks import cameras
from benchmarks.table import Table
from hf_ttr.streaming import open_source


def result(spent: float = 0.5) -> dict[str, Any]:
    """Made-up measurements, in which reuse takes a third of what the dense model takes."""
    rows: list[dict[str, Any]] = []
    for codec, rate in itertools.product(cameras.CODECS, ("every frame", "2 fps", "5 fps", "10 fps")):
        rows.append({"key": ["decoding", codec, rate], "seconds": 60.0, "spent": 3.0, "decoded": 750, "given": 10})
    for model, scene, rate in itertools.product(cameras.MODELS, cameras.SCENES, cameras.RATES):
        skip = 1 if scene == "busy" else 2
        rows.append({"key": ["settings", model, scene, f"{rate} fps"], "threshold": 0.1, "skip": skip})
    for model, rate in itertools.product(cameras.MODELS, cameras.RATES):
        costs = {"multiply_adds": 30, "dense_multiply_adds": 100}
        rows.append(
            {"key": [model, "dense", "still", f"{rate} fps"], "seconds": 60.0, "spent": 3 * spent * rate, **costs}
        )
        for way, scene in itertools.product(("skipping", "reuse"), cameras.SCENES):
            key = [model, way, scene, f"{rate} fps"]
            rows.append({"key": key, "seconds": 60.0, "spent": spent * rate, **costs})
    return {"rows": rows}


def test_the_table_says_how_many_cameras_a_core_holds() -> None:
    text, table = cameras.table(result())
    assert isinstance(table, Table) and isinstance(text, str) and f"KL of at most {cameras.LARGEST_KL:g}" in text
    rows = {tuple(row[:3]): row for row in table.rows}
    assert len(rows) == len(cameras.MODELS) * len(cameras.RATES) * len(cameras.SCENES)
    still, busy = rows["ViT-B", "5", "still"], rows["ViT-B", "5", "busy"]
    # 60 seconds of video in 7.5 and in 2.5 seconds; decoding takes a twentieth of a core for each.
    assert still[3:7] == ["8.00", "24.00", "**24.00**", "3.0x"]
    assert busy[4] == "-" and still[8] == "30%" and still[9] == "120%"
    (words, decoding) = cameras.decoding_table(result())
    assert isinstance(decoding, Table)
    assert decoding.rows[0][1:] == ["every frame", "50%", "5.0%", "20"]


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    cameras.plot(result(), tmp_path / "cameras.png")
    assert (tmp_path / "cameras.png").stat().st_size > 1000


@pytest.mark.parametrize("codec", cameras.CODECS)
def test_cameras_are_encoded_as_they_should_be(codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hf_ttr

    monkeypatch.setattr(cameras, "_folder", lambda: str(tmp_path))
    monkeypatch.setattr(cameras, "SIZE", (128, 96))
    monkeypatch.setattr(cameras, "real_data", lambda: tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").symlink_to(hf_ttr.example("demo.mp4"))
    for is_empty in (False, True):
        path = cameras._encoded("a.mp4", codec, 2.0, is_empty)
        with open_source(path, max_fps=5.0) as source:
            frames = [frame.pixels for frame in source.frames()]
            assert (len(frames), source.received, frames[0].shape) == (10, 50, (96, 128, 3))
            # Without frames that no other needs, all are decoded.
            assert (source.decoded == 50) == (codec == cameras.USUAL)
        differences = abs(frames[5].astype(int) - frames[0]).mean()
        assert (differences < 3.0) == is_empty, differences

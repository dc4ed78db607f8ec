"""A small archive, a tiny model, and Ray on this machine, once for all tests that need them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import hf_ttr

from ..evaluation.videos import make_folder
from ..tiny import tiny_parent


@dataclass(frozen=True)
class Archive:
    """Where videos and a model lie; the last two of the paths are no videos."""

    model: str
    folder: str
    paths: list[str]
    good: int = 7


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    make_folder(folder / "videos", 9, broken=2)
    hf_ttr.with_temporal_reuse(tiny_parent(), {"threshold": 0.3}).save_pretrained(folder / "vit")
    hf_ttr.TemporalReuseVideoProcessor(
        size={"height": 24, "width": 24}, do_center_crop=False, num_frames=8
    ).save_pretrained(folder / "vit")
    paths = sorted((folder / "videos").rglob("*.mp4"), key=lambda path: path.name)
    return Archive(str(folder / "vit"), str(folder / "videos"), [str(path) for path in paths])


@pytest.fixture(scope="session")
def ray() -> Iterator[Any]:
    """Ray with two processors, whatever this machine has."""
    pytest.importorskip("ray", reason="ray is not installed.")
    from hf_ttr.archive.engine import import_ray

    found = import_ray()
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        found.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:  # no room in /dev/shm, no ports
        pytest.skip(f"Ray does not start on this machine: {error}")
    yield found
    found.shutdown()

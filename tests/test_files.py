"""Files that appear once they are complete."""

from __future__ import annotations

from pathlib import Path

import PIL.Image
import pytest

from hf_ttr.files import replacing_folder
from hf_ttr.visualization import group_map, heat_map, reuse_map, reuse_page, reuse_video
from hf_ttr.visualization import page as page_module
from hf_ttr.visualization import video as video_module

from .visualization.clips import FRAMES, make_maps


MAPS = make_maps()
# What writes a file of that name, and what in it fails when the disk is full.
WRITERS = {
    "reuse_map": ("a.png", PIL.Image.Image, "save", lambda path: reuse_map(FRAMES, MAPS.computed, path=path)),
    "group_map": ("a.png", PIL.Image.Image, "save", lambda path: group_map(FRAMES, MAPS.groups, path=path)),
    "heat_map": ("a.png", PIL.Image.Image, "save", lambda path: heat_map(FRAMES, MAPS.age, path=path)),
    "gif": ("a.gif", PIL.Image.Image, "save", lambda path: reuse_video(FRAMES, MAPS, path)),
    "mp4": ("a.mp4", video_module, "_of_even_size", lambda path: reuse_video(FRAMES, MAPS, path)),
    "page": ("a.html", page_module, "_filled_template", lambda path: reuse_page(FRAMES, MAPS, path)),
}


def fail(*arguments: object, **options: object) -> None:
    for target in arguments:
        if isinstance(target, str) and target.startswith("/"):
            Path(target).write_bytes(b"half a pic")
    raise OSError("No space left on device")


@pytest.mark.parametrize(("name", "owner", "method", "write"), WRITERS.values(), ids=WRITERS)
def test_failed_save_leaves_everything_as_it_was(name, owner, method, write, tmp_path: Path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(b"what was there before")
    monkeypatch.setattr(owner, method, fail)
    with pytest.raises(OSError, match="No space"):
        write(path)
    assert path.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("name", "owner", "method", "write"), WRITERS.values(), ids=WRITERS)
def test_file_replaces_what_was_there(name, owner, method, write, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(b"what was there before")
    write(path)
    assert path.read_bytes()[:8] != b"what was"
    assert list(tmp_path.iterdir()) == [path]


ENDINGS = {
    "reuse_map": (lambda path: reuse_map(FRAMES, MAPS.computed, path=path), "'a.txt' is written as PNG"),
    "group_map": (lambda path: group_map(FRAMES, MAPS.groups, path=path), "'a.txt' is written as PNG"),
    "heat_map": (lambda path: heat_map(FRAMES, MAPS.age, path=path), "'a.txt' is written as PNG"),
    "video": (lambda path: reuse_video(FRAMES, MAPS, path), "'a.txt' is written as MP4 or GIF"),
    "page": (lambda path: reuse_page(FRAMES, MAPS, path), "'a.txt' is written as HTML"),
}


@pytest.mark.parametrize(("write", "message"), ENDINGS.values(), ids=ENDINGS)
def test_names_of_other_files_are_refused(write, message):
    with pytest.raises(ValueError, match=message):
        write("a.txt")


def test_folder_replaces_what_was_there(tmp_path: Path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "old").touch()
    with replacing_folder(tmp_path / "a") as folder:
        (Path(folder) / "new").touch()
        assert (tmp_path / "a" / "deep" / "old").exists()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/new"]


def test_failed_folder_leaves_everything_as_it_was(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    with pytest.raises(OSError, match="No space"), replacing_folder(tmp_path / "a") as folder:
        (Path(folder) / "new").touch()
        raise OSError("No space left on device")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/old"]

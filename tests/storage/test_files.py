"""Files that appear once they are complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest

from hf_ttr.storage.files import replacing, replacing_folder
from hf_ttr.visualization import group_map, heat_map, reuse_map, reuse_page, reuse_video
from hf_ttr.visualization import page as page_module
from hf_ttr.visualization import video as video_module

from ..visualization.clips import FRAMES, make_maps


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


def stop_in_the_middle(path: Path, how: str) -> None:
    """Has another process begin to write, and kills it there."""
    code = (
        "import os, signal, sys; from hf_ttr.storage.files import replacing, replacing_folder\n"
        "what = replacing_folder if sys.argv[2] == 'folder' else replacing\n"
        "with what(sys.argv[1]) as place:\n"
        "    open(os.path.join(place, 'new') if sys.argv[2] == 'folder' else place, 'w').write('half')\n"
        "    if sys.argv[3] == 'aside': os.rename(sys.argv[1], place + '-old')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    kind, _, when = how.partition("-")
    subprocess.run([sys.executable, "-c", code, path, kind, when], check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks.")
def test_what_a_killed_process_left_is_removed_when_the_file_is_written_again(tmp_path: Path):
    path = tmp_path / "a.json"
    for _ in range(2):
        stop_in_the_middle(path, "file-")
        assert len(list(tmp_path.iterdir())) == 1 and not path.exists()
    others = [tmp_path / ".0123456789abcdef0123456789abcdef.json", tmp_path / ".hf_ttr-notes"]
    for other in others:
        other.write_text("not ours")
    with replacing(path) as first, replacing(path) as second:
        # What a living writer holds is left to it.
        assert first != second
        for place, text in ((first, "one"), (second, "two")):
            Path(place).write_text(text)
    assert path.read_text() == "one" and sorted(tmp_path.iterdir()) == sorted([*others, path])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks.")
@pytest.mark.parametrize("how", ["folder-", "folder-aside"])
def test_a_folder_of_a_killed_process(how: str, tmp_path: Path):
    target = tmp_path / "a"
    target.mkdir()
    (target / "old").touch()
    stop_in_the_middle(target, how)
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(OSError, match="No space"), replacing_folder(target):
        raise OSError("No space left on device")
    # What had been put aside is back.
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/old"]
    with replacing_folder(target) as folder:
        (Path(folder) / "new").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["a", "a/new"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such links.")
def test_a_link_in_the_place_of_a_temporary_is_not_followed(tmp_path: Path):
    path, victim = tmp_path / "a.json", tmp_path / "victim"
    victim.write_text("mine")
    with replacing(path) as place:
        Path(place).write_text("x")
    Path(place).symlink_to(victim)
    with replacing(path) as other:
        Path(other).write_text("y")
    assert victim.read_text() == "mine" and path.read_text() == "y" and other != place and Path(place).is_symlink()


def test_files_have_the_usual_permissions(tmp_path: Path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "a.json") as place:
        Path(place).write_text("x")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "plain").stat().st_mode

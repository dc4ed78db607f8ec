"""The same list of videos for everything that takes a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hf_ttr.video import VIDEO_ENDINGS, list_videos


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize("ending", VIDEO_ENDINGS)
def test_every_usual_ending_in_any_case(ending: str, tmp_path: Path):
    make(tmp_path, f"a{ending}", f"B{ending.upper()}")
    listed = list_videos(tmp_path)
    assert listed.videos == [f"B{ending.upper()}", f"a{ending}"]
    assert listed.others == listed.notes() == []


def test_what_is_no_video_is_left_out_and_said(tmp_path: Path):
    make(
        tmp_path,
        "cat/a.mp4",
        "cat/._a.mp4",
        "cat/.hidden.mp4",
        ".git/b.mp4",
        "dog/c.WEBM",
        "notes.txt",
        "dog/labels.csv",
    )
    make(tmp_path, "d.mp4/inside.ts", "metadata.csv")
    listed = list_videos(tmp_path)
    assert listed.videos == ["cat/a.mp4", "d.mp4/inside.ts", "dog/c.WEBM"]
    assert listed.notes(("metadata.csv",)) == ["2 files are no videos, and left out; the first: dog/labels.csv."]


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    make(tmp_path / "elsewhere", "a.mp4", "deep/b.mp4")
    make(tmp_path / "videos", "c.mp4")
    folder = tmp_path / "videos"
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "again.mp4").symlink_to(tmp_path / "elsewhere" / "a.mp4")
    (folder / "broken.mp4").symlink_to(tmp_path / "nowhere")
    (tmp_path / "elsewhere" / "deep" / "up").symlink_to(folder)
    (folder / "self").symlink_to(folder)
    assert list_videos(folder).videos == ["again.mp4", "broken.mp4", "c.mp4", "linked/a.mp4", "linked/deep/b.mp4"]


def test_pipes_and_sockets_are_not_read(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    listed = list_videos(tmp_path)
    assert listed.videos == [] and listed.others == ["pipe.mp4", "zero.mp4"]


def test_the_order_is_that_of_characters_folder_by_folder(tmp_path: Path):
    make(tmp_path, "b/1.mp4", "b 2/1.mp4", "b/10.mp4", "b/2.mp4", "Z.mp4", "ä.mp4", "b.mp4")
    expected = ["Z.mp4", "b/1.mp4", "b/10.mp4", "b/2.mp4", "b 2/1.mp4", "b.mp4", "ä.mp4"]
    assert list_videos(tmp_path).videos == expected


def test_a_folder_that_cannot_be_read_is_said(tmp_path: Path):
    assert list_videos(tmp_path / "nowhere").notes() == ["1 folder cannot be read; the first: .."]

"""What a user names becomes the paths of videos, each once, whatever it is."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_ttr.archive.sources import find_paths
from hf_ttr.evaluation import DataError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    for name in ("b/2.mp4", "b/1.MOV", "a/deep/3.mkv", "notes.txt.bak", "b/.hidden.mp4", "a/x y.dat"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


VIDEOS = ["a/deep/3.mkv", "b/1.MOV", "b/2.mp4"]


def below(folder: Path, names: list[str]) -> list[str]:
    return sorted(str(folder / name) for name in names)


def test_a_folder_and_what_was_left_out(archive: Path) -> None:
    found = find_paths(archive)
    assert found.paths == below(archive, VIDEOS)
    assert found.notes == ["2 files are no videos, and left out; the first: a/x y.dat."]


def test_paths_do_not_depend_on_the_working_folder(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = below(archive, VIDEOS)
    (archive.parent / "list.txt").write_text("archive/b/2.mp4\n")
    monkeypatch.chdir(archive.parent)
    assert find_paths("archive").paths == find_paths("./archive/").paths == expected
    assert find_paths("archive/**/*").paths == expected
    assert find_paths("archive/b/2.mp4").paths == find_paths(["archive/b/2.mp4"]).paths == expected[2:]
    assert find_paths("list.txt").paths == expected[2:]
    monkeypatch.chdir(archive)
    assert find_paths("../list.txt").paths == find_paths("b/2.mp4").paths == expected[2:]
    assert find_paths(f"file://{archive}").paths == expected


def test_patterns(archive: Path) -> None:
    assert find_paths(f"{archive}/**/*.mp4").paths == below(archive, ["b/2.mp4"])
    assert find_paths(f"{archive}/[ab]/*").paths == below(archive, VIDEOS[1:])
    assert find_paths(f"{archive}/[ab]/*").notes == [
        f"1 file is no video, and left out; the first: {archive}/a/x y.dat."
    ]
    # An ending that was typed is meant.
    assert find_paths(f"{archive}/*/*.dat").paths == below(archive, ["a/x y.dat"])
    (archive / "c[1].mp4").touch()
    assert find_paths(f"{archive}/c[1].mp4").paths == below(archive, ["c[1].mp4"])


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl", "parquet"])
def test_lists_in_files(archive: Path, ending: str) -> None:
    entries = ["b/2.mp4", "./b/../a/deep/3.mkv", str(archive / "b/2.mp4"), "s3://bucket/x.mp4", 'gone, "or" so.mp4']
    path = archive / f"list.{ending}"
    if ending == "txt":
        path.write_text("\ufeff" + "\r\n\r\n".join(entries))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"other": 1, "path": entry}) + "\n" for entry in entries))
    elif ending == "csv":
        quoted = (entry.replace('"', '""') for entry in entries)
        path.write_text("other,path\n" + "".join(f'1,"{entry}"\n' for entry in quoted))
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed.")
        pytest.importorskip("pyarrow.parquet").write_table(
            pyarrow.table({"other": [1] * len(entries), "path": entries}), path
        )
    found = find_paths(path)
    own = below(archive, ["b/2.mp4", "a/deep/3.mkv", 'gone, "or" so.mp4'])
    assert found.paths == sorted([*own, "s3://bucket/x.mp4"])
    assert found.notes == [f"1 path comes more than once, and counts once; the first: {archive}/b/2.mp4."]


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    for name, text, says in (
        ("a.csv", "file\na.mp4\n", "the list '.*a.csv' has no path in row 1; add it"),
        ("a.jsonl", '{"path": "a.mp4"}\n{"path": 5}\n', "has no path in row 2"),
        ("b.jsonl", "no json", "the list '.*b.jsonl' cannot be read .*; correct it"),
        ("a.parquet", "no table", "the list '.*a.parquet' cannot be read"),
        ("a.txt", "\n\n", "the list '.*a.txt' holds no video; pass another"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=says):
            find_paths(tmp_path / name)


def test_what_is_not_there_or_holds_no_video(archive: Path) -> None:
    (archive / "a" / "deep" / "3.mkv").unlink()
    for source, says in (
        (archive / "nothing", "'.*nothing' does not exist; check the path"),
        (archive / "a", r"the folder '.*a' holds no video \(1 file is no video, .*x y.dat\); pass another"),
        (f"{archive}/*.mp4", r"the pattern '.*\*.mp4' holds no video; pass another"),
        (f"{archive}/*", r"matches folders, and no video; pass '.*/\*/\*\*/\*.mp4' for what is in them"),
        ([], "the list of paths holds no video"),
    ):
        with pytest.raises(DataError, match=says) as caught:
            find_paths(source)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems have names of characters alone.")
def test_names_that_are_no_unicode_are_told_of(archive: Path) -> None:
    (archive / os.fsdecode(b"\xff.mp4")).touch()
    found = find_paths(archive)
    assert found.paths == below(archive, VIDEOS)
    assert found.notes[-1] == rf"1 name is no Unicode, and left out; rename it; the first: {archive}/\udcff.mp4."


@pytest.fixture
def bucket() -> Iterator[str]:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed.")
    files = fsspec.filesystem("memory")
    for name in ("b/2.mp4", "b/1.MOV", "a/3.mkv", "a/.hidden/4.mp4", "read.me"):
        files.pipe(f"/bucket/{name}", b"video")
    files.pipe("/bucket/list.csv", b"path\nb/2.mp4\nmemory://bucket/a/3.mkv\n/data/5.mp4\n")
    yield "memory://bucket"
    files.rm("/bucket", recursive=True)


def test_buckets(bucket: str) -> None:
    import fsspec

    found = find_paths(bucket)
    assert found.paths == [f"{bucket}/{name}" for name in ("a/3.mkv", "b/1.MOV", "b/2.mp4")]
    assert found.notes == ["2 files are no videos, and left out; the first: /bucket/list.csv."]
    for path in found.paths:
        with fsspec.open(path, "rb") as file:
            assert file.read() == b"video"
    assert find_paths(f"{bucket}/").paths == found.paths
    assert find_paths(f"{bucket}/b/*").paths == found.paths[1:]
    assert find_paths(f"{bucket}/**/*.mkv").paths == found.paths[:1]
    assert find_paths(f"{bucket}/b/2.mp4").paths == found.paths[2:]
    assert find_paths("memory://").paths == [f"memory:///bucket/{name}" for name in ("a/3.mkv", "b/1.MOV", "b/2.mp4")]
    listed = find_paths(f"{bucket}/list.csv").paths
    assert listed == ["/data/5.mp4", "memory://bucket/a/3.mkv", "memory://bucket/b/2.mp4"]


def test_names_like_patterns_in_buckets(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    for name in ("c[1]/6.mp4", "c1/7.mp4", "8?.mp4", "88.mp4"):
        files.pipe(f"/bucket/{name}", b"video")
    assert find_paths(f"{bucket}/c[1]").paths == [f"{bucket}/c[1]/6.mp4"]
    assert find_paths(f"{bucket}/c[1]/6.mp4").paths == [f"{bucket}/c[1]/6.mp4"]
    assert find_paths(f"{bucket}/8?.mp4").paths == [f"{bucket}/8?.mp4"]
    files.rm_file("/bucket/8?.mp4")
    assert find_paths(f"{bucket}/8?.mp4").paths == [f"{bucket}/88.mp4"]

    def refuses(self: Any, path: str, **options: Any) -> bool:
        raise ValueError("that is no name")

    monkeypatch.setattr(type(files), "exists", refuses)
    assert find_paths(f"{bucket}/8?.mp4").paths == [f"{bucket}/88.mp4"]


def test_what_was_left_out_is_told_of_where_videos_become_a_data_set(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed.")
    import hf_ttr.ray
    from hf_ttr.archive import engine

    monkeypatch.setattr(engine, "data_set", list)
    with pytest.warns(UserWarning, match="2 files are no videos, and left out; the first: a/x y.dat.") as caught:
        assert hf_ttr.ray.find_videos(str(archive)) == below(archive, VIDEOS)
    assert [one.filename for one in caught] == [__file__]


def test_addresses_that_cannot_be_listed(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.registry import known_implementations

    missing = {"class": "missing_s3.S3", "err": "Install missing_s3 for S3"}
    monkeypatch.setitem(known_implementations, "s3", missing)
    for address, says in (
        ("s3://bucket/prefix", r"'s3://bucket/prefix' needs a driver .* installed .Install missing_s3 for S3.; "),
        ("nowhere://me:secret@host/x", "'nowhere://host/x' is no address that is read .*; check it"),
        (f"{bucket}/nothing", "there is nothing at 'memory://bucket/nothing'; check the address"),
        (f"{bucket}/*.avi", "the pattern 'memory://bucket/.*' holds no video"),
    ):
        with pytest.raises(DataError, match=says):
            find_paths(address)


def test_addresses_keep_their_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which fsspec's own listing says nothing."""
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed.")
    from fsspec.implementations.ftp import FTPFileSystem

    monkeypatch.setattr(FTPFileSystem, "_connect", lambda self: setattr(self, "ftp", io.BytesIO()))
    monkeypatch.setattr(FTPFileSystem, "isfile", lambda self, path: False)
    monkeypatch.setattr(FTPFileSystem, "find", lambda self, path: [f"{path}/a.mp4"])
    assert fsspec.core.url_to_fs("ftp://me@host/videos")[1] == "/videos"
    assert find_paths("ftp://me@host/videos").paths == ["ftp://me@host/videos/a.mp4"]
    assert find_paths("https://host/get?video=1").paths == ["https://host/get?video=1"]

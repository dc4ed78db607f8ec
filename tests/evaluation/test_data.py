from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from hf_ttr.evaluation import DataError, open_dataset
from hf_ttr.video import VideoDecodingError, read_frames

from ..streaming.clips import send, serving
from .videos import make_folder


pytest.importorskip("datasets", reason="datasets is not installed.")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_a_folder_of_classes(tmp_path: Path, streaming: bool) -> None:
    folder = make_folder(tmp_path / "videos", 5)
    dataset = open_dataset(str(folder), streaming=streaming)
    videos = list(dataset)
    assert dataset.split is None and dataset.size == 5
    assert [video.number for video in videos] == list(range(5))
    names = ["LABEL_0/000.mp4", "LABEL_0/002.mp4", "LABEL_0/004.mp4", "LABEL_1/001.mp4", "LABEL_1/003.mp4"]
    assert sorted(video.name for video in videos) == names
    assert all(video.label == video.name.split("/")[0] for video in videos)
    assert [video.name for video in open_dataset(str(folder), streaming=streaming)] == [video.name for video in videos]


def test_splits(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos" / "train", 3)
    make_folder(tmp_path / "videos" / "test", 2)
    folder = str(tmp_path / "videos")
    with pytest.raises(DataError, match=re.escape(f"the data set '{folder}' has the splits train, test; pass one")):
        open_dataset(folder)
    with pytest.raises(DataError, match="has no split 'val', but train, test"):
        open_dataset(folder, "val")
    dataset = open_dataset(folder, "test")
    assert dataset.split == "test" and len(list(dataset)) == 2


@pytest.mark.parametrize(
    "labels", [("training dog", "abseiling"), ("train", "bus"), ("test-drive", "walk")], ids=" ".join
)
def test_classes_that_sound_like_splits(tmp_path: Path, labels: tuple[str, ...]) -> None:
    folder = make_folder(tmp_path / "videos", 4, labels=labels)
    dataset = open_dataset(str(folder))
    assert dataset.split is None
    assert sorted(str(video.label) for video in dataset) == sorted(2 * labels)


def test_classes_that_sound_like_splits_in_a_split(tmp_path: Path) -> None:
    make_folder(tmp_path / "videos" / "val", 4, labels=("training dog", "abseiling"))
    make_folder(tmp_path / "videos" / "test", 2, labels=("training dog", "abseiling"))
    dataset = open_dataset(str(tmp_path / "videos"), "validation")
    assert sorted(str(video.label) for video in dataset) == ["abseiling"] * 2 + ["training dog"] * 2


def test_a_folder_with_metadata(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "videos", 2, labels=("a",))
    (folder / "metadata.csv").write_text("file_name,label\na/000.mp4,jump\na/001.mp4,run\n")
    found = [(video.name, video.label) for video in open_dataset(str(folder))]
    assert found == [("a/000.mp4", "jump"), ("a/001.mp4", "run")]


def test_every_kind_of_video_is_in_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "videos", 2)
    content = (folder / "LABEL_0" / "000.mp4").read_bytes()
    endings = (".webm", ".ts", ".m4v", ".3gp", ".mts", ".gif", ".y4m", ".MOV")
    for ending in endings:
        (folder / "LABEL_1" / f"x{ending}").write_bytes(content)
    (folder / "LABEL_1" / "._x.mp4").write_bytes(b"resource fork")
    (folder / "LABEL_0" / "notes.txt").write_text("hello")
    (folder / "LABEL_0" / "broken.mp4").symlink_to(tmp_path / "nowhere")
    dataset = open_dataset(str(folder))
    expected = ["LABEL_0/000.mp4", "LABEL_0/broken.mp4", "LABEL_1/001.mp4", *(f"LABEL_1/x{one}" for one in endings)]
    assert [video.name for video in dataset] == sorted(expected)
    assert dataset.notes == ["1 file is no video, and left out; the first: LABEL_0/notes.txt."]
    good = [video for video in dataset if video.name != "LABEL_0/broken.mp4"]
    assert {read_frames(video.source)[1].frames for video in good} == {10}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_metadata_of_any_kind_leads_nowhere_else(ending: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "videos", 3, labels=("a",))
    secret = tmp_path / "secret.mp4"
    secret.write_bytes((folder / "a" / "000.mp4").read_bytes())
    rows: list[dict[str, Any]] = [
        {"file_name": "a/000.mp4", "label": "jump"},
        {"file_name": "./a/001.mp4", "label": "run"},
        {"file_name": "../secret.mp4", "label": "run"},
        {"file_name": str(secret), "label": None},
        {"file_name": "a/gone.mp4", "label": "jump"},
    ]
    path = folder / f"metadata.{ending}"
    if ending == "csv":
        path.write_text("file_name,label\n" + "".join(f"{row['file_name']},{row['label'] or ''}\n" for row in rows))
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    dataset = open_dataset(str(folder))
    found = {video.name: video for video in dataset}
    labels = {"a/000.mp4": "jump", "a/001.mp4": "run", "../secret.mp4": "run", str(secret): None, "a/gone.mp4": "jump"}
    assert {name: video.label for name, video in found.items()} == labels
    assert dataset.notes == ["1 of the videos are not in the metadata, and left out; the first: a/002.mp4."]
    assert read_frames(found["a/001.mp4"].source)[1].frames == 10
    for name in ("../secret.mp4", str(secret)):
        with pytest.raises(VideoDecodingError, match="is not in the folder of the data that name it"):
            read_frames(found[name].source)
    with pytest.raises(VideoDecodingError, match="does not exist"):
        read_frames(found["a/gone.mp4"].source)
    allowed = {video.name: video for video in open_dataset(str(folder), allowed_folders=[str(tmp_path)])}
    assert read_frames(allowed["../secret.mp4"].source)[1].frames == 10


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("metadata.csv", b"file,label\na.mp4,x\n", "has no file_name in row 1"),
        ("metadata.jsonl", b'{"file_name": "a.mp4"}\n{"file_name": \n', "cannot be read (JSONDecodeError"),
        ("metadata.jsonl", b"[1]\n", "cannot be read (TypeError: a line is no object"),
        ("metadata.csv", b"file_name\n\xff\xfe.mp4\n", "cannot be read (UnicodeDecodeError"),
        ("metadata.parquet", b"no table", "cannot be read (Arrow"),
    ],
)
def test_metadata_that_cannot_be_read(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "videos", 1)
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"the metadata '{folder / name}' {message}")):
        open_dataset(str(folder))


def test_rows_of_a_table_lead_to_no_url_and_no_file(tmp_path: Path) -> None:
    import datasets

    folder = make_folder(tmp_path / "other", 1)
    clip = folder / "LABEL_0" / "000.mp4"
    asked: list[str] = []

    def answer(handler: Any) -> None:
        asked.append(handler.path)
        send(handler, clip.read_bytes())

    table = tmp_path / "table"
    table.mkdir()
    inside = table / "inside.bin"
    inside.write_bytes(clip.read_bytes())
    with serving(answer) as url:
        rows = [
            {"bytes": clip.read_bytes(), "path": None},
            {"bytes": None, "path": str(inside)},
            {"bytes": None, "path": str(clip)},
            {"bytes": None, "path": f"{url}/router?reboot=1"},
        ]
        kind = datasets.Features({"video": datasets.Video(decode=False)})
        own = datasets.Dataset.from_dict({"video": rows}, features=kind)
        # Not by `to_parquet`, which fetches what its rows name.
        schema = own.data.table.schema.with_metadata(own.features.arrow_schema.metadata)
        pyarrow.parquet.write_table(own.data.table.cast(schema), table / "train.parquet")
        said = []
        for video in open_dataset(str(table)):
            try:
                said.append(str(read_frames(video.source)[1].frames))
            except VideoDecodingError as error:
                said.append(str(error).partition(" is ")[2] or str(error))
        assert said[:2] == ["10", "10"]
        assert said[2].startswith("not in the folder of the data that name it")
        assert said[3].startswith("not allowed here")
        assert asked == []
        allowed = list(open_dataset(str(table), allowed_hosts=["127.0.0.1"], allowed_folders=[str(folder)]))
        assert [read_frames(video.source)[1].frames for video in allowed] == [10] * 4


@pytest.mark.parametrize("name", ["./missing", "file.txt", "empty"])
def test_no_data_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=re.escape(f"the data set '{name}' ")):
        open_dataset(name)

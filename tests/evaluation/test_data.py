from __future__ import annotations

import re
from pathlib import Path

import pytest

from hf_ttr.evaluation import DataError, open_dataset

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


@pytest.mark.parametrize("name", ["./missing", "file.txt", "empty"])
def test_no_data_set(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=re.escape(f"the data set '{name}' ")):
        open_dataset(name)

"""`hf_ttr.example`: what ships with the package, from any folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hf_ttr
from hf_ttr.examples import EXAMPLES, as_named, with_examples


@pytest.mark.parametrize("name", EXAMPLES)
def test_they_are_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = hf_ttr.example(name)
    assert os.path.isabs(path) and os.path.exists(path)
    assert with_examples(f"example:{name}") == path
    assert as_named(path) == f"example:{name}"
    assert as_named(f"{tmp_path}/{name}") == f"{tmp_path}/{name}"


def test_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="there is no example 'vit'; there are vit-demo, videomae-demo, demo.mp4, mo"):
        hf_ttr.example("vit")
    with pytest.raises(ValueError, match="there is no example '../x'"):
        with_examples("example:../x")
    assert with_examples("clip.mp4") == "clip.mp4"
    # A file of that name is meant.
    (tmp_path / "example:demo.mp4").write_bytes(b"")
    assert with_examples("example:demo.mp4") == "example:demo.mp4"


def test_all_that_ships_is_named() -> None:
    folder = os.path.dirname(hf_ttr.example("vit-demo"))
    assert sorted(set(os.listdir(folder)) - {"README.md"}) == sorted(EXAMPLES)

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import hf_ttr
from hf_ttr.caching.snapshot import SnapshotError, is_snapshot, load_cache, save_cache

from ..tiny import make_clip, tiny_parent, tiny_videomae


def model_of(kind: str, seed: int = 0) -> Any:
    reduction = [{"method": "pruning", "keep": 0.7, "layers": [1]}] if "pruning" in kind else None
    parent = tiny_videomae(seed) if kind.startswith("videomae") else tiny_parent(seed)
    return hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3, "reduction": reduction})


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["vit", "vit pruning", "videomae", "videomae pruning"])
@torch.inference_mode()
def test_a_stream_goes_on_from_a_file(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model, clip = model_of(kind).to(dtype), make_clip(batch=2, frames=24).to(dtype)
    cache = model(clip[:, :8]).past_key_values
    save_cache(cache, tmp_path / "a.safetensors", {"extra": torch.arange(3)}, {"frame": 8})
    loaded, tensors, notes = load_cache(tmp_path / "a.safetensors")
    assert type(loaded) is type(cache) and loaded.memory_bytes == cache.memory_bytes
    assert tensors["extra"].tolist() == [0, 1, 2] and notes == {"frame": 8}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    for start in (8, 16):
        goes_on = model(clip[:, start : start + 8], past_key_values=loaded)
        expected = model(clip[:, start : start + 8], past_key_values=cache)
        loaded, cache = goes_on.past_key_values, expected.past_key_values
        assert torch.equal(goes_on.logits, expected.logits)
        assert torch.equal(goes_on.reuse.computed_tokens, expected.reuse.computed_tokens)
        assert goes_on.reuse.computed_share.max() < 1


@torch.inference_mode()
def test_another_model_refuses_it(tmp_path: Path) -> None:
    clip = make_clip(batch=1)
    save_cache(model_of("vit")(clip).past_key_values, tmp_path / "a.safetensors")
    loaded, _, _ = load_cache(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="was filled with weights"):
        model_of("vit", seed=1)(clip, past_key_values=loaded)


def test_without_a_cache(tmp_path: Path) -> None:
    for cache in (None, hf_ttr.TemporalReuseCache(2)):
        save_cache(cache, tmp_path / "a.safetensors", notes={"a": [1, None]})
        assert load_cache(tmp_path / "a.safetensors") == (None, {}, {"a": [1, None]})


def test_an_old_file_stays_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    save_cache(None, path, notes={"a": 1})

    def full(content: Any, name: str, metadata: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("hf_ttr.caching.snapshot.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_cache(None, path, notes={"a": 2})
    assert load_cache(path)[2] == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def damaged(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, damaged], ids=["empty", "text", "bytes", "cut"])
@torch.inference_mode()
def test_damaged_files(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_cache(model_of("vit")(make_clip(batch=1)).past_key_values, path)
    path.write_bytes(content(path.read_bytes()) if callable(content) else content)
    with pytest.raises(SnapshotError, match=re.escape(f"the snapshot '{path}' is damaged (")):
        load_cache(path)


def test_files_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(SnapshotError, match="does not exist"):
        load_cache(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(SnapshotError, match="is not one of this version of hf_ttr; delete it to start anew"):
        load_cache(path)
    for about in ("{}", "1", "hello", json.dumps({"class": "TemporalReuseCache", "layers": 2, "notes": {}})):
        save_file({"a": torch.zeros(1)}, path, metadata={"format": "hf_ttr cache 3", "about": about})
        with pytest.raises(SnapshotError, match=r"is incomplete \("):
            load_cache(path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    marker = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (marker,))

    torch.save(Evil(), path)
    with pytest.raises(SnapshotError, match="is damaged"):
        load_cache(path)
    assert not marker.exists()


def test_no_more_is_taken_than_a_snapshot_needs(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    about = {"class": "TemporalReuseCache", "layers": 10**9, "owner": {}, "notes": {}}
    metadata = {"format": "hf_ttr cache 3", "about": json.dumps(about)}
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(
        SnapshotError, match=r"is incomplete \(ValueError: it holds 0 tensors of layers, but speaks of"
    ):
        load_cache(path)
    save_file({"a": torch.zeros(1000)}, path, metadata=metadata)
    with pytest.raises(SnapshotError, match="has .* bytes, and can have 2000 at most"):
        load_cache(path, max_bytes=2000)
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(SnapshotError, match="its header is longer than that of any snapshot"):
        load_cache(path)
    metadata["about"] = "[" * 100_000
    save_file({"a": torch.zeros(1)}, path, metadata=metadata)
    with pytest.raises(SnapshotError, match=r"is incomplete \(RecursionError"):
        load_cache(path)


def test_what_was_written_here_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for content, is_own in ((b"", True), (b"mine", False), (b"\x00" * 100, False)):
        path.write_bytes(content)
        assert is_snapshot(path) is is_own
    save_file({"a": torch.zeros(1)}, path)
    assert not is_snapshot(path)
    save_cache(None, path)
    assert is_snapshot(path)


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(content: Any, name: str, metadata: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("hf_ttr.caching.snapshot.save_file", full)
    with pytest.raises(OSError, match="No space left on device"):
        save_cache(None, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []

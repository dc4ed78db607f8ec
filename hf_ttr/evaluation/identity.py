"""What a run is of: the model, its processor, the versions and the videos; a run of something else is another run."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from typing import Any

import torch

from ..caching.fingerprint import weights_digest
from ..display import as_unicode, without_secrets
from .data import Video, VideoDataset


_VOLATILE = ("transformers_version", "dtype", "torch_dtype")
_CHUNK = 1 << 20


def identity_of(model: Any, processor: Any, dataset: VideoDataset) -> dict[str, Any]:
    """
    What decides the rows of a run beside what `describe` says of it, as JSON has it.

    Args:
        model: a video classifier with reuse.
        processor: a `TemporalReuseVideoProcessor`.
        dataset: the videos.
    """
    found = identity_of_model(model, processor)
    return {**found, "revision": None if dataset.is_folder else _revision(dataset.name)}


def identity_of_model(model: Any, processor: Any) -> dict[str, Any]:
    """
    What decides what a model answers, as JSON has it.

    Args:
        model: a video classifier with reuse.
        processor: a `TemporalReuseVideoProcessor`.
    """
    import av
    import transformers

    config = {
        name: value
        for name, value in model.config.to_dict().items()
        if not name.startswith("_") and name not in _VOLATILE
    }
    found: dict[str, Any] = {
        "weights": weights_digest(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "attention": getattr(model.config, "_attn_implementation", None),
        "config": config,
        "processor": {name: value for name, value in processor.to_dict().items() if not name.startswith("_")},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "av": av.__version__},
    }
    as_json: dict[str, Any] = json.loads(json.dumps(found, default=str))
    return as_json


def _revision(name: str) -> str | None:
    """The commit of a data set on the Hub, where it can be reached."""
    from huggingface_hub import HfApi

    try:
        return HfApi().dataset_info(name, timeout=10).sha
    # The data set was opened: what the Hub says beside it is not needed.
    except Exception:
        return None


@dataclass(frozen=True)
class ListedVideo:
    """
    A video of a run.

    Attributes:
        name, label: see `Video`.
        size: of its file in bytes, where it has one that can be read.
    """

    name: str
    label: str | None
    size: int | None

    @classmethod
    def of(cls, video: Video) -> ListedVideo:
        """What a run remembers of a video."""
        return cls(clean_name(video.name), clean_label(video.label), file_of(video.source)[0])


def clean_name(name: str) -> str:
    """The name of a video as rows have it: without secrets, and Unicode whatever the file system has."""
    return as_unicode(without_secrets(name))


def clean_label(label: str | None) -> str | None:
    """The label of a video as rows have it."""
    return None if label is None else as_unicode(label)


def list_videos(dataset: VideoDataset) -> list[Video] | None:
    """The videos of a data set; `None` where they come one by one: only once, from afar, or with all their bytes."""
    videos = iter(dataset)
    # What can be iterated once is its own iterator.
    if not dataset.is_folder or videos is iter(dataset):
        return None
    first = next(videos, None)
    if first is None:
        return []
    return None if _content_and_path(first.source)[0] is not None else [first, *videos]


def file_of(source: Any) -> tuple[int | None, int | None]:
    """Size and time of modification (in nanoseconds) of what a video is read from, as far as it has them."""
    content, path = _content_and_path(source)
    if content is not None:
        return len(content), None
    try:
        found = None if path is None else os.stat(path)
    except (OSError, ValueError):
        return None, None
    if found is None or not stat.S_ISREG(found.st_mode):
        return None, None
    return found.st_size, found.st_mtime_ns


def digest_of(source: Any) -> str | None:
    """The SHA-256 of what a video is read from; `None` where that is no file, or cannot be read."""
    content, path = _content_and_path(source)
    if content is not None:
        return hashlib.sha256(content).hexdigest()
    size = file_of(source)[0]
    if path is None or not size:
        return None
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            # Not further than its size: what the system makes up as it is read need not end.
            while size > 0 and (chunk := file.read(min(size, _CHUNK))):
                digest.update(chunk)
                size -= len(chunk)
    except OSError:
        return None
    return digest.hexdigest()


def _content_and_path(source: Any) -> tuple[bytes | None, str | None]:
    if isinstance(source, dict):
        content = source.get("bytes")
        source = content if content is not None else source.get("path")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), None
    return None, os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


__all__ = [
    "ListedVideo",
    "clean_label",
    "clean_name",
    "digest_of",
    "file_of",
    "identity_of",
    "identity_of_model",
    "list_videos",
]

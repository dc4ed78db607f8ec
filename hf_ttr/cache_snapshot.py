"""Caches as safetensors files, so that a stream goes on in another process without computing a frame anew."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .cache import ROW_STATES, ReuseCache, TemporalReuseCache
from .files import replacing
from .planning.stream_state import StreamState
from .planning.window_state import WindowState
from .window_cache import TemporalReuseWindowCache


FORMAT = "hf_ttr cache 1"
"""Written into every file; another number is another layout."""

_STATES: dict[str, tuple[type[ReuseCache], type]] = {
    "TemporalReuseCache": (TemporalReuseCache, StreamState),
    "TemporalReuseWindowCache": (TemporalReuseWindowCache, WindowState),
}


class SnapshotError(ValueError):
    """A snapshot cannot be used; the message is one sentence that names the file, the fault and the remedy."""


def save_cache(
    cache: ReuseCache | None,
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """
    Writes a cache to a safetensors file, which appears once it is complete.

    Args:
        cache: a `TemporalReuseCache` or `TemporalReuseWindowCache`; `None` or an empty one if there is only the rest.
        path (`str` or `os.PathLike`): where to.
        tensors (`Mapping[str, torch.Tensor]`, *optional*): what belongs to it, such as frames that are waiting.
        notes (`Mapping[str, Any]`, *optional*): facts that JSON can hold.

    Raises:
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import hf_ttr, os, tempfile, torch
    >>> from hf_ttr.cache_snapshot import load_cache, save_cache

    >>> model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained("hf_ttr/assets/vit-demo")
    >>> with torch.inference_mode():
    ...     cache = model(torch.zeros(1, 1, 3, 224, 224)).past_key_values
    >>> path = os.path.join(tempfile.mkdtemp(), "camera.safetensors")
    >>> save_cache(cache, path, notes={"frame": 1})
    >>> cache, tensors, notes = load_cache(path)
    >>> cache, notes
    (TemporalReuseCache(layers=6, streams=1), {'frame': 1})
    ```
    """
    content: dict[str, torch.Tensor] = {f"own.{name}": tensor for name, tensor in (tensors or {}).items()}
    about: dict[str, Any] = {"notes": dict(notes or {}), "class": None}
    if cache is not None and cache.streams is not None:
        about |= {"class": type(cache).__name__, "layers": len(cache.layers), "owner": cache.owner}
        for number, layer in enumerate(cache.layers):
            content |= {f"layers.{number}.keys": layer.keys, f"layers.{number}.values": layer.values}
        content |= {f"rows.{name}": getattr(cache, name) for name in ROW_STATES if getattr(cache, name) is not None}
        for field in fields(cache.streams):
            value = getattr(cache.streams, field.name)
            if isinstance(value, torch.Tensor):
                content[f"streams.{field.name}"] = value
            else:
                about[f"streams.{field.name}"] = value
    # Views are stored on their own, as safetensors asks.
    content = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in content.items()}
    with replacing(path) as temporary:
        save_file(content, temporary, metadata={"format": FORMAT, "about": json.dumps(about)})


def load_cache(
    path: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[ReuseCache | None, dict[str, torch.Tensor], dict[str, Any]]:
    """
    Reads what `save_cache` wrote. Nothing in the file is executed.

    Args:
        path (`str` or `os.PathLike`): the file.
        device: where the model is that the cache goes on with.

    Returns:
        The cache, `None` if there was none; the tensors and the notes that were saved with it.

    Raises:
        SnapshotError: if there is no such file, or it is damaged or something else; one sentence.
    """
    name = f"the snapshot '{os.fspath(path)}'"
    if not os.path.isfile(path):
        raise SnapshotError(f"{name} does not exist; check the path.")
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            content = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SnapshotError(f"{name} is damaged ({error}); delete it to start anew.") from error
    if metadata.get("format") != FORMAT:
        raise SnapshotError(f"{name} is not one of this version of hf_ttr; delete it to start anew.")
    try:
        about = json.loads(metadata["about"])
        own = {key.removeprefix("own."): tensor for key, tensor in content.items() if key.startswith("own.")}
        return _cache_of(about, content, str(device)), own, about["notes"]
    except (KeyError, TypeError, ValueError) as error:
        raise SnapshotError(f"{name} is incomplete ({error!r}); delete it to start anew.") from error


def _cache_of(about: dict[str, Any], content: dict[str, torch.Tensor], device: str) -> ReuseCache | None:
    if about["class"] is None:
        return None
    cache_class, state_class = _STATES[about["class"]]
    cache: Any = cache_class(about["layers"])
    for number, layer in enumerate(cache.layers):
        keys, values = content[f"layers.{number}.keys"], content[f"layers.{number}.values"]
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
    for name in ROW_STATES:
        setattr(cache, name, content.get(f"rows.{name}"))
    state = {}
    for field in fields(state_class):
        key = f"streams.{field.name}"
        state[field.name] = content[key] if key in content else about[key]
    cache.streams = state_class(**state)
    cache.owner = {**about["owner"], "device": str(torch.empty(0, device=device).device)}
    return cache

"""Caches as safetensors files, so that a stream goes on in another process without computing a frame anew."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..checks import first_line, is_whole
from ..display import shown
from ..planning.plan import NEVER
from ..planning.stream_state import StreamState
from ..planning.window_state import WindowState
from ..storage.files import replacing
from .cache import ReuseCache, TemporalReuseCache
from .factorized_cache import TemporalReuseFactorizedCache
from .window_cache import TemporalReuseWindowCache


FORMAT = "hf_ttr cache 3"
"""Written into every file; another number is another layout."""

LARGEST_FILE = 2 * 2**30
"""Bytes of a snapshot that is read; the cache of the largest window model takes one half of it."""

LARGEST_HEADER = 2**24
"""Bytes of what a snapshot says of its tensors."""

_STATES: dict[str, tuple[type[ReuseCache], type]] = {
    "TemporalReuseCache": (TemporalReuseCache, StreamState),
    "TemporalReuseFactorizedCache": (TemporalReuseFactorizedCache, StreamState),
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
        cache: that of a model, such as a `TemporalReuseCache`; `None` or an empty one if there is only the rest.
        path (`str` or `os.PathLike`): where to.
        tensors (`Mapping[str, torch.Tensor]`, *optional*): what belongs to it, such as frames that are waiting.
        notes (`Mapping[str, Any]`, *optional*): facts that JSON can hold.

    Raises:
        OSError: if the file cannot be written.

    Example:

    ```python
    >>> import hf_ttr, os, tempfile, torch
    >>> from hf_ttr.caching.snapshot import load_cache, save_cache

    >>> model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(hf_ttr.example("vit-demo"))
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
        rows = {f"rows.{name}": getattr(cache, name) for name in cache.row_states}
        content |= {name: tensor for name, tensor in rows.items() if tensor is not None}
        for field in fields(cache.streams):
            value = getattr(cache.streams, field.name)
            if isinstance(value, torch.Tensor):
                content[f"streams.{field.name}"] = value
            else:
                about[f"streams.{field.name}"] = value
    # Views are stored on their own, as safetensors asks.
    content = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in content.items()}
    metadata = {"format": FORMAT, "about": json.dumps(about, allow_nan=False)}
    with replacing(path) as temporary:
        try:
            save_file(content, temporary, metadata=metadata)
        except SafetensorError as error:  # a full disk has no class of its own there
            raise OSError(first_line(error)) from error


def load_cache(
    path: str | os.PathLike[str], device: torch.device | str = "cpu", max_bytes: int = LARGEST_FILE
) -> tuple[ReuseCache | None, dict[str, torch.Tensor], dict[str, Any]]:
    """
    Reads what `save_cache` wrote. Nothing in the file is executed.

    Args:
        path (`str` or `os.PathLike`): the file.
        device: where the model is that the cache goes on with.
        max_bytes (`int`): a larger file is refused before anything of it is held.

    Returns:
        The cache, `None` if there was none; the tensors and the notes that were saved with it.

    Raises:
        SnapshotError: if there is no such file, or it is damaged or something else; one sentence.
    """
    name = f"the snapshot '{shown(os.fspath(path), None)}'"
    if not os.path.isfile(path):
        raise SnapshotError(f"{name} does not exist; check the path.")
    try:
        _check_size(path, max_bytes)
        with safe_open(path, "pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            is_own = metadata.get("format") == FORMAT
            content = {key: file.get_tensor(key) for key in file.keys() if is_own}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise SnapshotError(f"{name} is damaged ({shown(first_line(error))}); delete it to start anew.") from error
    if not is_own:
        raise SnapshotError(f"{name} is not one of this version of hf_ttr; delete it to start anew.")
    try:
        about = json.loads(metadata["about"])
        if not isinstance(about["notes"], dict):
            raise ValueError("its notes are none")
        own = {key.removeprefix("own."): tensor for key, tensor in content.items() if key.startswith("own.")}
        return _cache_of(about, content, str(device)), own, about["notes"]
    except (KeyError, TypeError, ValueError, IndexError, RecursionError, RuntimeError) as error:
        why = shown(f"{type(error).__name__}: {first_line(error)}")
        raise SnapshotError(f"{name} is incomplete ({why}); delete it to start anew.") from error


def is_snapshot(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that `save_cache` wrote, or empty, as a crash of the system may leave it."""
    try:
        if os.path.getsize(path) == 0:
            return True
        _check_size(path, None)
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get("format", "")).startswith(FORMAT.rstrip("0123456789"))
    except (SafetensorError, OSError, ValueError):
        return False


def _check_size(path: str | os.PathLike[str], most: int | None) -> None:
    """Raises a `ValueError` for a file that asks for more than any of this kind needs."""
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > LARGEST_HEADER:
        raise ValueError("its header is longer than that of any snapshot")
    if most is not None and os.path.getsize(path) > most:
        raise ValueError(f"it has {os.path.getsize(path)} bytes, and can have {most} at most")


def _cache_of(about: dict[str, Any], content: dict[str, torch.Tensor], device: str) -> ReuseCache | None:
    if about["class"] is None:
        return None
    cache_class, state_class = _STATES[about["class"]]
    layers, held = about["layers"], sum(key.startswith("layers.") for key in content)
    if not is_whole(layers) or held != 2 * layers:
        raise ValueError(f"it holds {held} tensors of layers, but speaks of {shown(layers, 20)} layers")
    if not isinstance(about["owner"], dict):
        raise ValueError("its owner is none")
    cache: Any = cache_class(layers)
    for number, layer in enumerate(cache.layers):
        keys, values = content[f"layers.{number}.keys"], content[f"layers.{number}.values"]
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
    for name in cache.row_states:
        setattr(cache, name, content.get(f"rows.{name}"))
    state = {}
    for field in fields(state_class):
        key = f"streams.{field.name}"
        state[field.name] = content[key] if key in content else about[key]
    cache.streams = state_class(**state)
    cache.owner = {**about["owner"], "device": str(torch.empty(0, device=device).device)}
    return cache


def check_cache(cache: ReuseCache, config: Any) -> None:
    """
    Looks whether a cache that was read is one of a stream of a model: shapes, types and ranges of all that it holds.

    Args:
        cache: of one stream.
        config (`PretrainedConfig`): of the model.

    Raises:
        ValueError: if not; it names what is wrong.
    """
    is_window, shape = config.plans_windows, config.model_shape()
    # One that plans its frames one by one may still be handed windows of them.
    of_frames = TemporalReuseCache if config.window_frames is None else TemporalReuseFactorizedCache
    if type(cache) is not (TemporalReuseWindowCache if is_window else of_frames):
        raise ValueError("its cache is of another kind of model")
    owner: Any = cache.owner
    for name, value in (
        ("layers", shape.layers),
        ("hidden_size", shape.hidden_size),
        ("batch_size", 1),
    ):
        if owner.get(name) != value or isinstance(owner[name], bool):
            raise ValueError(f"{name} is not {value}")
    if not all(isinstance(owner.get(name), str) for name in ("model", "dtype", "weights")):
        raise ValueError("its owner is no model")
    positions = math.prod(config.grid)
    state: Any = cache.streams
    heads, size = shape.heads, shape.hidden_size
    if not is_window:
        tokens = config.prefix_tokens + positions
        _check("reference", state.reference, (1, positions, size))
        _check_whole("age", state.age, (1, tokens), 1, NEVER)
        _check("saliency", state.saliency.nan_to_num(), (1, positions), least=0)
        _check("debt", state.debt, (1, positions), least=0)
        of_rows: tuple[int, ...] = (1, 1, tokens)
        if isinstance(cache, TemporalReuseFactorizedCache):
            _check("window states", cache.window_states, (1, config.window_frames, tokens, size))
            _check("checksums", cache.checksums, (1, config.window_frames))
    else:
        if not (isinstance(state.counts, list) and len(state.counts) == 1 and is_whole(state.counts[0])):
            raise ValueError("counts is not the number of rows of one stream")
        (tokens,), times = state.counts, config.window_frames // config.tubelet_frames
        slots = (1, times, positions)
        _check("patches", state.patches, (*slots, size))
        _check("checksums", state.checksums, (1, config.window_frames))
        _check("reference", state.reference, (tokens, size))
        _check_whole("age", state.age, (tokens,), 1, NEVER)
        _check("change", state.change, (tokens,), least=0)
        _check_whole("left", state.left, slots, -1, tokens - 1)
        _check_whole("right", state.right, slots, -1, tokens - 1)
        _check("alpha", state.alpha, slots, least=0, most=1)
        _check_whole("row slots", state.row_slots, (tokens,), 0, times * positions - 1)
        of_rows = (tokens,)
    for layer in cache.layers:
        for name in ("keys", "values"):
            _check(name, getattr(layer, name), (1, heads, tokens, shape.key_size))
            if str(getattr(layer, name).dtype) != f"torch.{owner['dtype']}":
                raise ValueError(f"{name} has another dtype than its owner")
    if cache._output is not None:
        _check("output", cache._output, (*of_rows, size))
    if cache._last_layers is not None:
        of_last_layers = of_rows if is_window else (*of_rows, 1)
        _check_whole("last layers", cache._last_layers, of_last_layers, 0, shape.layers)


def _check(
    name: str, tensor: Any, shape: tuple[int, ...], least: float | None = None, most: float | None = None
) -> None:
    if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has shape {tuple(getattr(tensor, 'shape', ()))}, and not {shape}")
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} holds what is no finite number")
    if (least is not None and bool((tensor < least).any())) or (most is not None and bool((tensor > most).any())):
        raise ValueError(f"{name} is out of range")


def _check_whole(name: str, tensor: Any, shape: tuple[int, ...], least: int, most: int) -> None:
    if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape or tensor.dtype != torch.long:
        raise ValueError(f"{name} has not the shape {shape} of whole numbers")
    if bool(((tensor < least) | (tensor > most)).any()):
        raise ValueError(f"{name} is out of range")

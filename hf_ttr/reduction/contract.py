"""Whether a method of a user's own does what it announced: one sentence where it does not."""

from __future__ import annotations

from typing import Any

import torch

from ..checks import ContractError, is_whole
from .base import FrameMerge, FrameReduction, LayerReduction, Reduction, WindowReduction
from .rows import RowChange, RowSets


def is_foreign(method: Reduction) -> bool:
    """Whether a method is none of this package: only those are looked at, as it makes a GPU wait."""
    return not type(method).__module__.startswith(f"{__package__}.")


def checked_count(method: LayerReduction, layer: int, count: int, removed: Any, protected: int) -> int:
    """
    How many rows a method announces to remove of a set of `count`.

    Raises:
        ContractError: if it is no number of rows that can go.
    """
    most = max(count - max(protected, 1), 0)
    if not is_whole(removed) or not 0 <= removed <= most:
        raise ContractError(
            f"reduction {method.method!r}: removed() is {removed!r} for layer {layer} and a set of {count} rows, but "
            f"must be a whole number from 0 to {most}."
        )
    return int(removed)


def check_change(
    method: LayerReduction,
    layer: int,
    change: Any,
    sets: RowSets,
    removed: list[int],
    rows: torch.Tensor,
    protected: int,
) -> None:
    """
    Looks at what a method decided for the rows of a layer.

    Args:
        method: the method.
        layer (`int`): number of the layer.
        change: what its `change` returned.
        sets, removed, protected: what `change` was given.
        rows (`torch.Tensor` of shape `(rows, hidden_size)`): the rows.

    Raises:
        ContractError: if that cannot be carried out, or is not what `removed` announced.
    """

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise ContractError(f"reduction {method.method!r}: change() of layer {layer} {what}.")

    require(isinstance(change, RowChange), f"returns {type(change).__name__}, but must return a RowChange")
    parts = {"sources": change.sources, "targets": change.targets}
    if change.left_out is not None:
        parts["left_out"] = change.left_out
    for name, part in parts.items():
        fault = _fault_of_index(part, len(rows), rows.device)
        require(fault is None, f"returns {name} that {fault}")
    sources, targets = change.sources, change.targets
    left_out = sources.new_zeros(0) if change.left_out is None else change.left_out
    require(
        len(sources) == len(targets),
        f"returns {len(sources)} sources and {len(targets)} targets, but must return a target for each source",
    )
    if method.prunes:
        require(not len(sources), "merges rows, but the class says prunes = True; return them as left_out")
    else:
        require(not len(left_out), "leaves rows out, but the class says prunes = False; set it to True")
    if change.weights is not None:
        fits = _is_tensor(change.weights, (len(rows),), rows.device) and change.weights.is_floating_point()
        require(fits, f"returns weights that are no floating numbers of shape ({len(rows)},) on {rows.device}")

    gone = torch.cat([sources, left_out])
    require(len(gone.unique()) == len(gone), "removes a row twice; each may come once")
    is_gone = torch.zeros(len(rows), dtype=torch.bool, device=rows.device).index_fill_(0, gone, True)
    require(not bool(is_gone[targets].any()), "merges into a row that it removes; a target is never a source")
    counts = torch.tensor(sets.counts, device=rows.device)
    of_set = torch.arange(len(sets.counts), device=rows.device).repeat_interleave(counts)
    place = torch.arange(len(rows), device=rows.device) - torch.tensor(sets.starts, device=rows.device)[of_set]
    touched = torch.cat([gone, targets])
    require(
        not bool((place[touched] < protected).any()),
        f"touches a protected row; the first {protected} of each set have to stay as they are",
    )
    require(bool((of_set[sources] == of_set[targets]).all()), "merges a row into one of another set")
    found = torch.bincount(of_set[gone], minlength=len(sets.counts)).tolist()
    for number, (announced, done) in enumerate(zip(removed, found)):
        require(
            announced == done,
            f"removes {done} rows of set {number}, but removed() announced {announced}; let both say the same",
        )


def check_merge(method: FrameReduction, merge: Any, frames: RowSets, streams: int, protected: int) -> None:
    """
    Looks at what a method decided for the rows of the frames of a call.

    Args:
        method: the method.
        merge: what its `merge` returned.
        frames, streams, protected: what `merge` was given.

    Raises:
        ContractError: if that cannot be carried out.
    """

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise ContractError(f"reduction {method.method!r}: merge() {what}.")

    rows, device = len(frames), frames.device
    require(isinstance(merge, FrameMerge), f"returns {type(merge).__name__}, but must return a FrameMerge")
    targets = merge.targets
    fault = _fault_of_index(targets, rows, device)
    require(fault is None, f"returns targets that {fault}")
    require(len(targets) == rows, f"returns {len(targets)} targets for {rows} rows, but must return one for each")
    costs = merge.multiply_adds
    right = isinstance(costs, list) and len(costs) == streams and all(is_whole(cost) and cost >= 0 for cost in costs)
    require(
        right, f"returns the multiply_adds {costs!r}, but must return a whole number for each of {streams} streams"
    )
    itself = torch.arange(rows, device=device)
    require(bool((targets[targets] == targets).all()), "merges into a row that is merged itself")
    counts = torch.tensor(frames.counts, device=device)
    frame = torch.arange(len(frames.counts), device=device).repeat_interleave(counts)
    stream = frame // (len(frames.counts) // streams)
    require(bool((stream[targets] == stream).all()), "merges a row into one of another stream")
    place = itself - torch.tensor(frames.starts, device=device)[frame]
    moved = targets != itself
    touched = torch.cat([itself[moved], targets[moved]])
    require(
        not bool((place[touched] < protected).any()),
        f"touches a protected row; the first {protected} of each frame have to stay as they are",
    )


def sources_of(method: WindowReduction, pixels: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
    """
    Which tokens a method lets stand for the slots of windows, checked where it is a user's own.

    Args:
        method: the method.
        pixels, patch_size: see `WindowReduction.sources`.

    Raises:
        ContractError: if that cannot be carried out.
    """
    sources = method.sources(pixels, patch_size)
    if not is_foreign(method):
        return sources

    def require(condition: bool, what: str) -> None:
        if not condition:
            raise ContractError(f"reduction {method.method!r}: sources() {what}.")

    batch, frames, _, height, width = pixels.shape
    times = frames // patch_size[0]
    shape = (batch, times, (height // patch_size[1]) * (width // patch_size[2]))
    is_right = _is_tensor(sources, shape, pixels.device) and sources.dtype == torch.long
    require(is_right, f"returns {_words(sources)}, but must return torch.int64 of shape {shape} on {pixels.device}")
    require(bool(((sources >= 0) & (sources < times)).all()), f"returns times that are not from 0 to {times - 1}")
    require(bool((sources.gather(1, sources) == sources).all()), "returns a token that does not stand for itself")
    return sources


def _fault_of_index(index: Any, rows: int, device: torch.device) -> str | None:
    """What is wrong with a list of rows."""
    if not isinstance(index, torch.Tensor) or index.dtype != torch.long or index.dim() != 1 or index.device != device:
        return f"are {_words(index)}, but must be torch.int64 of one dimension on {device}"
    if len(index) and not (int(index.min()) >= 0 and int(index.max()) < rows):
        return f"go from {int(index.min())} to {int(index.max())}, but there are the rows 0 to {rows - 1}"
    return None


def _is_tensor(value: Any, shape: tuple[int, ...], device: torch.device) -> bool:
    return isinstance(value, torch.Tensor) and tuple(value.shape) == shape and value.device == device


def _words(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return type(value).__name__
    return f"{value.dtype} of shape {tuple(value.shape)} on {value.device}"


__all__ = ["check_change", "check_merge", "checked_count", "is_foreign", "sources_of"]

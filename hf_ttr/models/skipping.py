"""Calls of which whole frames are left out, and what is made of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch

from ..caching.cache import TemporalReuseCache
from ..configuration import TemporalReuseConfig
from ..devices import on_device
from ..execution.flops import ReuseReport
from ..modeling_outputs import TemporalReuseModelOutput, concatenate_outputs, map_tensors
from ..planning.frame_skipping import choose_frames, places_between, planning_cost
from ..planning.planner import MAX_FRAMES


Encode = Callable[..., TemporalReuseModelOutput]
"""`FrameModel.encode_frames`."""


def encode_with_skipping(
    encode: Encode,
    video: torch.Tensor,
    grid: tuple[int, int],
    settings: TemporalReuseConfig,
    cache: TemporalReuseCache | None,
    use_cache: bool | None,
    **options: Any,
) -> TemporalReuseModelOutput:
    """
    Encodes the frames that are not left out, stretch by stretch, and puts the others between them.

    Args:
        encode: goes through frames with reuse.
        video (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): all frames.
        grid (`tuple[int, int]`): rows and columns of patches.
        settings: with a budget.
        cache, use_cache, options: as `encode` takes them; tensors among the options have a row per stream.
    """
    outputs = []
    for stretch in video.split(MAX_FRAMES, dim=1):
        assert settings.compute_budget is not None
        chosen = [tuple(kept) for kept in choose_frames(stretch, grid, settings.compute_budget)]
        parts, streams = [], []
        # Streams that keep the same frames run together.
        for kept in dict.fromkeys(chosen):
            rows = [row for row, other in enumerate(chosen) if other == kept]
            is_all, own = len(rows) == len(chosen), torch.tensor(rows, device="cpu")
            part = encode(
                (stretch if is_all else take(stretch, own)).index_select(1, on_device(kept, video.device)),
                cache if cache is None or is_all else cache.take(own),
                use_cache=True,
                temporal_reuse=settings_for(settings, len(kept), stretch.shape[1]),
                **{
                    name: take(value, own) if isinstance(value, torch.Tensor) and not is_all else value
                    for name, value in options.items()
                },
            )
            parts.append(spread_in_time(part, kept, stretch.shape[1]))
            streams += rows
        output = parts[0] if len(parts) == 1 else _join_streams(parts, torch.tensor(streams, device="cpu"), cache)
        output.reuse.add_planning(planning_cost(grid, stretch))
        cache = output.past_key_values
        outputs.append(output)
    joined = outputs[0] if len(outputs) == 1 else _join_stretches(outputs)
    joined.past_key_values = cache if use_cache is None or use_cache else None
    return joined


def take(tensor: torch.Tensor, streams: torch.Tensor) -> torch.Tensor:
    """What a tensor with a row for each stream has for some of them."""
    return tensor.index_select(0, streams.to(tensor.device))


def settings_for(settings: TemporalReuseConfig, kept: int, frames: int) -> TemporalReuseConfig:
    """The settings of a call of so many frames, of which so many are kept, for these alone."""
    assert settings.compute_budget is not None
    own = copy.copy(settings)
    own.frame_skipping = False
    own.compute_budget = min(settings.compute_budget * frames / kept, 1.0)
    if settings.max_age is not None and kept < frames:
        own.max_age = max(settings.max_age * (kept - 1) // (frames - 1), 1)
    return own


def spread_in_time(output: TemporalReuseModelOutput, kept: tuple[int, ...], frames: int) -> TemporalReuseModelOutput:
    """
    The output of all frames of a call, where it is of some: states between two lie on the line between theirs.

    Args:
        output: of the frames that are kept; it is changed.
        kept: their numbers, increasing, the first and the last frame among them.
        frames (`int`): of the call.
    """
    states: Any = output.last_hidden_state
    numbers = on_device(kept, states.device)
    left, right, share = places_between(numbers, frames)
    shares = share.to(states.dtype)[:, None, None]
    output.last_hidden_state = torch.lerp(states[:, left], states[:, right], shares)
    output.reuse.spread_in_time(numbers, torch.where(share > 0.5, right, left))
    output.past_key_values.spread_in_time(kept, frames)
    return output


def _join_streams(
    parts: list[TemporalReuseModelOutput], streams: torch.Tensor, cache: TemporalReuseCache | None
) -> TemporalReuseModelOutput:
    """One output of all streams, of parts that have some each."""
    caches: list[Any] = [part.past_key_values for part in parts]
    order = streams.argsort()
    joined = map_tensors(concatenate_outputs(parts, dim=0), lambda tensor: tensor[order.to(tensor.device)])
    if cache is None or cache.streams is None:
        filled = type(caches[0]).join(caches)
        filled.batch_select_indices(order)
        if cache is None:
            cache = filled
        else:
            # One that was handed in empty is filled, like any other.
            vars(cache).update(vars(filled))
    else:
        for own, part in zip(streams.split([each.batch_size for each in caches]), caches):
            cache.put(own, part)
    joined.past_key_values = cache
    return joined


def _join_stretches(outputs: list[TemporalReuseModelOutput]) -> TemporalReuseModelOutput:
    """One output of all frames, of such of some each."""
    parts = [{name: value for name, value in output.items() if name != "reuse"} for output in outputs]
    joined = concatenate_outputs([TemporalReuseModelOutput(**part) for part in parts], dim=1)
    joined.reuse = ReuseReport.join([output["reuse"] for output in outputs])
    return joined

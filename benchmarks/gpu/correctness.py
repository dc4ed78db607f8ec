"""What must hold on a GPU as it does on a CPU: reuse against the dense model, the kernel against its definition."""

from __future__ import annotations

import copy
from typing import Any

import torch

import hf_ttr
from hf_ttr.execution.graphs import Graphs, NoGraphs, graphs_for
from hf_ttr.execution.kernels.frame_links import FrameLinks
from hf_ttr.execution.kernels.interpolated_attention import (
    interpolated_attention,
    kernel_unavailable_reason,
    reference_interpolated_attention,
)
from hf_ttr.models.register import MODELS, ReuseModel

from ..fidelity import scripts


TOLERANCES = {torch.float32: 2e-3, torch.float16: 2e-2, torch.bfloat16: 6e-2}
"""Largest distance of two results over the largest number in them, by dtype; on GPUs float32 may be TF32."""

KERNEL_SHAPES = ((96, 197, 12, 64), (24, 729, 16, 72), (8, 1370, 16, 64))
"""Frames, tokens, heads and head dimensions."""


def families() -> dict[str, ReuseModel]:
    """One entry for every kind of model that comes with the package."""
    return {name: entry for name, entry in MODELS.items() if entry.config.__module__.startswith("hf_ttr.")}


def tiny_model(name: str, device: torch.device, dtype: torch.dtype) -> tuple[Any, torch.Tensor]:
    """A tiny model of a family, and a clip for it, `(1, frames, channels, height, width)`."""
    tiny = scripts("make_supported_table")
    entry = families()[name]
    kind: Any = entry.video_classifier or entry.base
    torch.manual_seed(0)
    model = kind(tiny.tiny_config(entry.config)).eval().to(device, dtype)
    return model, tiny.clip().to(device, dtype)


def settings_of_streams() -> dict[str, Any]:
    """With which little of what goes on in the clip is computed."""
    return {**scripts("make_supported_table").NEAR, "mode": "causal"}


def pieces_of(model: Any, video: torch.Tensor) -> tuple[str, tuple[torch.Tensor, ...]]:
    """The clip frame by frame, twice, or windows of it: what they are called, and these."""
    if model.config.window_frames is None:
        return "streams", video.split(1, dim=1) * 2
    return "windows", tuple(video.roll(-shift, dims=1) for shift in range(4))


@torch.no_grad()
def check_family(name: str, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """
    A tiny model of a family against itself in mode "off".

    Returns:
        `distances`: by invariant, over the largest number; `passed`: whether all are within the tolerance.
    """
    model, video = tiny_model(name, device, dtype)
    dense = _states(model(video, temporal_reuse={"mode": "off"}))
    whole = _states(model(video, temporal_reuse={"threshold": 0.0}))
    distances = {"threshold 0": _distance(whole, dense)}
    settings = settings_of_streams()
    if model.config.window_frames is None:
        still = video[:, :1].expand(-1, 4, -1, -1, -1).contiguous()
        outputs = _states(model(still, temporal_reuse=settings))
        distances["identical frames"] = _distance(outputs, outputs[:, :1].expand_as(outputs))
        together, cache, apart = _states(model(video, temporal_reuse=settings)), None, []
        for frame in video.split(1, dim=1):
            output = model(frame, past_key_values=cache, temporal_reuse=settings)
            cache = output.past_key_values
            apart.append(_states(output))
        distances["frame by frame"] = _distance(torch.cat(apart, dim=1), together)
    else:
        cache = model(video).past_key_values
        again = _states(model(video, past_key_values=cache))
        distances["identical windows"] = _distance(again, _states(model(video)))
    captured, plain = (in_steps(model, video, settings, graphs) for graphs in (graphs_for(device), NoGraphs()))
    for what, found in captured.items():
        # Without graphs there are no steps of what adds something to the scores.
        if not plain[what].isnan().any():
            distances[f"captured {what}"] = _distance(found, plain[what])
    return _verdict(distances, TOLERANCES[dtype])


def in_steps(model: Any, video: torch.Tensor, settings: dict[str, Any], graphs: Graphs) -> dict[str, torch.Tensor]:
    """
    What a model says of streams and clips, or of windows, that go on in steps of fixed shapes.

    Args:
        model: the model; it stays as it is.
        video (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): frames of the streams, or a window.
        settings: of reuse, in mode "causal".
        graphs: how steps are run again.

    Returns:
        Numbers of each step, by what it is of, NaN where nothing was captured; nothing of models that have no steps.
    """
    own = copy.deepcopy(model)
    hf_ttr.optimize(own, compile=False, frozen=True, graphs=True)
    steps, clips, found = own.video_encoder.captured_steps, own.video_encoder.captured_clips, {}
    for captured in (steps, clips):
        if captured is not None:
            captured.graphs = graphs
    if steps is not None:
        name, pieces = pieces_of(own, video)
        cache, states = None, []
        for piece in pieces:
            output = own(piece, past_key_values=cache, temporal_reuse=settings)
            cache = output.past_key_values
            states.append(_states(output))
        # One graph plans; unless there are more, everything went the usual way.
        found[name] = torch.stack(states) if steps.captured > 1 else torch.full_like(states[0], torch.nan)
    if clips is not None:
        settings = {**settings, "mode": "bidirectional"}
        states = [_states(own(clip, temporal_reuse=settings)) for clip in (video, video.flip(1), video)]
        # The first frame and what plans the others are two.
        found["clips"] = torch.stack(states) if clips.captured > 2 else torch.full_like(states[0], torch.nan)
    return found


def _states(output: Any) -> torch.Tensor:
    """Of a clip the logits of every frame, or of the window; of a model without a head the last hidden states."""
    for name in ("frame_logits", "logits", "last_hidden_state"):
        found = getattr(output, name, None)
        if found is not None:
            return torch.as_tensor(found).float()
    raise TypeError(f"a {type(output).__name__} has nothing to compare.")


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    # Numbers that are all 0 agree with anything.
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _verdict(distances: dict[str, float], tolerance: float) -> dict[str, Any]:
    # What is not a number is within nothing.
    passed = all(distance <= tolerance for distance in distances.values())
    return {"distances": distances, "tolerance": tolerance, "passed": passed}


@torch.no_grad()
def check_kernel(device: torch.device, dtype: torch.dtype, quick: bool) -> dict[str, Any]:
    """Attention to interpolated keys against the definition in float32, on random rows and links."""
    distances, reason = {}, ""
    for frames, tokens, heads, head_dim in ((3, 17, 2, 32),) if quick else KERNEL_SHAPES:
        query, keys, values, links = random_rows(frames, tokens, heads, head_dim, device, dtype)
        reason = kernel_unavailable_reason(query, keys, values) or ""
        found = interpolated_attention(query, keys, values, links, head_dim**-0.5)
        expected = reference_interpolated_attention(query.float(), keys.float(), values.float(), links, head_dim**-0.5)
        distances[f"{frames} frames, {tokens} tokens, {heads} heads of {head_dim}"] = _distance(
            found.float(), expected
        )
    return {**_verdict(distances, TOLERANCES[dtype]), "without the kernel, as": reason}


def random_rows(
    frames: int, tokens: int, heads: int, head_dim: int, device: torch.device, dtype: torch.dtype, share: float = 0.25
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, FrameLinks]:
    """Queries, keys and values of frames of which about such a share is computed, and links between random rows."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.rand(frames, tokens, generator=generator).lt(share).sum(1).clamp(min=1)
    rows, table = int(counts.sum()), 2 * tokens
    query, keys, values = (
        torch.randn(size, heads, head_dim, generator=generator).to(device, dtype) for size in (rows, table, table)
    )
    starts = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)]).int()
    left, right = (torch.randint(table, (frames, tokens), generator=generator).int() for _ in range(2))
    alpha = torch.rand(frames, tokens, generator=generator)
    starts, left, right, alpha = (part.to(device) for part in (starts, left, right, alpha))
    return query, keys, values, FrameLinks(starts, left, right, alpha, longest=int(counts.max()), is_hold=False)

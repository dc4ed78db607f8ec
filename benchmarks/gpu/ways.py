"""The dense model in three ways, reuse in up to three, on the same frames and in turn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch

import hf_ttr
from hf_ttr.execution.graphs import graphs_for

from .clock import in_short, in_turn, peak_mebibytes
from .scenes import SCENES, Scene, changing_streams


STEPS = 6
"""Frames of a stream, or windows, that come again and again."""

BASELINE = "dense, compiled and captured"
"""What a serving engine runs, and what ratios are against."""

Ways = dict[str, Callable[[], Any]]


class Failed:
    """What could not be run, by name, and why: one way that does not work must not end the others."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def trying(self, ways: Ways, name: str, make: Callable[[], Callable[[], Any]]) -> None:
        """Adds a way if it can be made, and runs once."""
        try:
            way = make()
            way()
        except Exception as error:  # Whatever a compiler, or a capture, may raise.
            self.reasons[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300]}"
        else:
            ways[name] = way


def layers_of(model: Any) -> Any:
    """The layers of a model of transformers."""
    names = ("encoder.layer", "encoder.layers", "layers", "layer")
    for module in model.modules():
        for name in names:
            found = module
            for part in name.split("."):
                found = getattr(found, part, None)
            if isinstance(found, torch.nn.ModuleList):
                return found
    raise ValueError(f"a {type(model).__name__} has no layers that are known.")


def dense_ways(parent: Any, inputs: Callable[[], torch.Tensor], failed: Failed, quick: bool) -> Ways:
    """
    The model of transformers: as it is, compiled, and compiled and captured in a CUDA graph.

    Args:
        parent: the model.
        inputs: gives what comes next, always of the same shape.
        failed: takes what could not be run.
        quick: whether to make no code, which takes longer than all the rest of a rehearsal.
    """
    device = parent.device
    ways: Ways = {}
    failed.trying(ways, "dense", lambda: lambda: parent(inputs()))
    compiled = copy.deepcopy(parent)

    def compile_layers() -> Callable[[], Any]:
        # Layers are alike, so that code that is made for one serves all.
        for layer in layers_of(compiled):
            layer.compile(dynamic=False, backend="eager" if quick else "inductor")
        return lambda: compiled(inputs())

    def capture() -> Callable[[], Any]:
        held = inputs().clone()
        replay = graphs_for(device).capture(lambda: compiled(held))

        def step() -> None:
            held.copy_(inputs())
            replay()

        return step

    failed.trying(ways, "dense, compiled", compile_layers)
    failed.trying(ways, BASELINE, capture)
    return ways


OPTIMIZED: dict[str, dict[str, Any]] = {
    "reuse": {},
    "reuse, optimized": {"frozen": True},
    "reuse, captured": {"frozen": True, "graphs": True},
}
"""What `hf_ttr.optimize` is asked for; the first goes without."""


def reusing(parent: Any, settings: dict[str, Any], way: str) -> Any:
    """A model with reuse, of the same weights; if it is to be optimized, of copies."""
    options = OPTIMIZED[way]
    model = hf_ttr.with_temporal_reuse(copy.deepcopy(parent) if options else parent, settings)
    if options:
        hf_ttr.optimize(model, **options)
    return model


def check_captured(model: Any) -> None:
    """Raises why a model that is to be captured is not, if it is not."""
    for captured in (model.video_encoder.captured_steps, model.video_encoder.captured_clips):
        if captured is not None and captured.reason:
            raise RuntimeError(captured.reason)


def cycle(frames: torch.Tensor) -> Callable[[], torch.Tensor]:
    """What gives one after another along the first dimension, without end."""

    def endless() -> Iterator[torch.Tensor]:
        while True:
            yield from frames

    return endless().__next__


@torch.no_grad()
def streams(
    name: str, count: int, share: float, device: torch.device, dtype: torch.dtype, rounds: int, quick: bool
) -> dict[str, Any]:
    """So many streams, a frame of each at a time, of which such a share of the tokens is computed."""
    scene = SCENES[name]
    parent = scene.model(device, dtype, quick)
    frames = changing_streams(count, STEPS, share, scene.image_size, scene.patch, device, dtype)
    settings = {"mode": "causal", "compute_budget": share, "scene_cut": 1.0}
    failed = Failed()
    reports: dict[str, Any] = {}
    ways = dense_ways(parent, cycle(frames), failed, quick)

    def live(way: str) -> Callable[[], Any]:
        model = reusing(parent, settings, way)
        following = cycle(frames[:, :, None])
        state: dict[str, Any] = {"cache": None}

        def step() -> None:
            output = model(following(), past_key_values=state["cache"])
            state["cache"], reports[way] = output.past_key_values, output.reuse

        step()  # The first frame of a stream is computed whole.
        step()
        check_captured(model)
        return step

    for way in OPTIMIZED:
        failed.trying(ways, way, lambda: live(way))  # noqa: B023
    return _measured(ways, reports, failed, device, rounds, scene, streams=count, frames=count)


@torch.no_grad()
def clip(
    name: str, frames: int, share: float, device: torch.device, dtype: torch.dtype, rounds: int, quick: bool
) -> dict[str, Any]:
    """A clip in one call, of which such a share of the tokens is computed."""
    scene = SCENES[name]
    parent = scene.model(device, dtype, quick)
    video = changing_streams(1, frames, share, scene.image_size, scene.patch, device, dtype).transpose(0, 1)
    settings = {"compute_budget": share, "frame_skipping": False, "scene_cut": 1.0}
    failed = Failed()
    reports: dict[str, Any] = {}
    ways = dense_ways(parent, lambda: video[0], failed, quick)

    def whole(way: str) -> Callable[[], Any]:
        model = reusing(parent, settings, way)

        def step() -> None:
            reports[way] = model(video, use_cache=False).reuse

        step()
        check_captured(model)
        return step

    for way in OPTIMIZED:
        failed.trying(ways, way, lambda: whole(way))  # noqa: B023
    return _measured(ways, reports, failed, device, rounds, scene, streams=1, frames=frames)


@torch.no_grad()
def windows(
    name: str,
    count: int,
    stride: int,
    share: float,
    device: torch.device,
    dtype: torch.dtype,
    rounds: int,
    quick: bool,
) -> dict[str, Any]:
    """Windows of so many streams that move on by a stride, over scenes of which such a share changes per frame."""
    scene = SCENES[name]
    parent = scene.model(device, dtype, quick)
    image_size = parent.config.image_size
    total = scene.frames + stride * (STEPS - 1)
    frames = changing_streams(count, total, share, image_size, scene.patch, device, dtype).transpose(0, 1)
    found = torch.stack([frames[:, stride * step : stride * step + scene.frames] for step in range(STEPS)])
    failed = Failed()
    reports: dict[str, Any] = {}
    ways = dense_ways(parent, cycle(found), failed, quick)

    def sliding(way: str) -> Callable[[], Any]:
        model = reusing(parent, {}, way)
        state: dict[str, Any] = {"cache": None, "step": 0}

        def step() -> None:
            # Behind the last window the stream starts anew: such a window is whole, and one of `STEPS`.
            number = state["step"] % STEPS
            if number == 0:
                state["cache"] = None
            output = model(found[number], past_key_values=state["cache"], stride=stride)
            state["cache"], state["step"] = output.past_key_values, state["step"] + 1
            if number:
                reports[way] = output.reuse

        # Windows differ in what is computed of them: what has to be captured is before the clock runs.
        for _ in range(STEPS):
            step()
        check_captured(model)
        return step

    for way in OPTIMIZED:
        failed.trying(ways, way, lambda: sliding(way))  # noqa: B023
    return _measured(ways, reports, failed, device, rounds, scene, streams=count, frames=count * scene.frames)


def _measured(
    ways: Ways,
    reports: dict[str, Any],
    failed: Failed,
    device: torch.device,
    rounds: int,
    scene: Scene,
    streams: int,
    frames: int,
) -> dict[str, Any]:
    times = in_turn(ways, device, rounds)
    found: dict[str, dict[str, Any]] = {
        name: {**in_short(spent), "peak_mib": peak_mebibytes(ways[name], device)} for name, spent in times.items()
    }
    baseline = found.get(BASELINE, {}).get("milliseconds")
    for name, values in found.items():
        if baseline is not None:
            values["times_faster"] = baseline / values["milliseconds"]
        if name in reports:
            report = reports[name]
            values["computed_share"] = report.computed_share.mean().item()
            done, dense = (int(getattr(report, key).sum()) for key in ("multiply_adds", "dense_multiply_adds"))
            values["multiply_add_ratio"] = dense / max(done, 1)
    return {
        "model": scene.title,
        "tokens": scene.patches,
        "streams": streams,
        "frames": frames,
        "ways": found,
        "failed": failed.reasons,
    }


@torch.no_grad()
def profile(
    name: str,
    count: int,
    share: float,
    way: str,
    device: torch.device,
    dtype: torch.dtype,
    quick: bool,
    rows: int = 25,
) -> dict[str, Any]:
    """Where the time of a step of live streams goes: the dearest operations, and what the host waits for."""
    scene = SCENES[name]
    settings = {"mode": "causal", "compute_budget": share, "scene_cut": 1.0}
    model = reusing(scene.model(device, dtype, quick), settings, way)
    frames = cycle(changing_streams(count, STEPS, share, scene.image_size, scene.patch, device, dtype)[:, :, None])
    cache = model(frames()).past_key_values
    for _ in range(3):
        cache = model(frames(), past_key_values=cache).past_key_values
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(3):
            cache = model(frames(), past_key_values=cache).past_key_values
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = profiler.key_averages()
    of_device = device.type == "cuda"

    def spent(event: Any) -> float:
        return float(event.self_device_time_total if of_device else event.self_cpu_time_total)

    dearest = sorted(events, key=spent, reverse=True)[:rows]
    return {
        "model": scene.title,
        "streams": count,
        "share": share,
        "way": way,
        "steps": 3,
        "milliseconds": sum(map(spent, events)) / 1e3,
        "operations": {
            event.key[:120]: {"milliseconds": spent(event) / 1e3, "calls": event.count} for event in dearest
        },
        "host_waits": {
            event.key: event.count
            for event in events
            if any(word in event.key for word in ("Synchronize", "_local_scalar_dense", "aten::item", "aten::nonzero"))
        },
    }

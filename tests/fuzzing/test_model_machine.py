"""Random use of whole models with many streams against each stream on its own, with a cache of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from transformers import PreTrainedModel

from hf_ttr.caching.cache import ReuseCache

from ..models.cases import ModelCase, WindowCase, assert_near
from ..models.test_modeling_temporal_reuse_videomae import NEAR, videomae_case
from ..models.test_modeling_temporal_reuse_vit import vit_case
from .content import SEEDS, few


MOST_STREAMS = 4
PRUNING = {"method": "pruning", "keep": 0.6, "layers": [0, 1]}
FRAME_SETTINGS: list[dict[str, Any]] = [
    NEAR,
    {"saliency_weight": 0, "context_weight": 0, "max_age": 3},
    {"compute_budget": 0.4, **NEAR},
    {"compute_budget": 0.3, "threshold": 0.2, "max_age": 2, **NEAR},
    {**NEAR, "reduction": {"method": "tome", "r": 4}},
    {**NEAR, "reduction": PRUNING},
]
FRAME_CASES = [
    vit_case(str(index), mode, settings)
    for mode in ("causal", "bidirectional")
    for index, settings in enumerate(FRAME_SETTINGS)
]
WINDOW_CASES = [
    videomae_case("spread", "bidirectional", NEAR),
    videomae_case("middle", "bidirectional", {"representative": "middle", "max_age": 2, **NEAR}),
    videomae_case("start", "causal", NEAR),
    videomae_case("budget", "bidirectional", {"compute_budget": 0.4, **NEAR}),
    videomae_case("first-token", "bidirectional", NEAR, config={"use_mean_pooling": False}),
    videomae_case("tome", "bidirectional", {**NEAR, "reduction": {"method": "tome", "r": 12}}),
    videomae_case("pruning", "causal", {**NEAR, "reduction": PRUNING}),
]


@cache
def model_of(case: str, base: bool) -> PreTrainedModel:
    return {str(own): own for own in FRAME_CASES + WINDOW_CASES}[case].model(base)


@dataclass
class Stream:
    """A stream on its own: its cache, and the frames that it has shown so far, at least one."""

    frames: torch.Tensor
    cache: ReuseCache | None = None


def next_frames(last: torch.Tensor, count: int, seed: int, kind: str) -> torch.Tensor:
    """Frames `(count, channels, height, width)` that follow `last`."""
    generator = torch.Generator().manual_seed(seed)
    frames = []
    for _ in range(count):
        frame = last.clone()
        if kind == "cut":
            frame = torch.randn(last.shape, generator=generator)
        elif kind == "noise":
            frame += 0.02 * torch.randn(last.shape, generator=generator)
        elif kind == "objects":
            for change in (2.0, 1.0, 0.1):
                row, column = (4 * torch.randint(6, (2,), generator=generator)).tolist()
                patch = frame[:, row : row + 4, column : column + 4]
                patch += change * torch.randn(patch.shape, generator=generator)
        frames.append(frame)
        last = frame
    return torch.stack(frames)


class ModelMachine(RuleBasedStateMachine):
    """What the machines of all models share; each adds how it is called."""

    cases: ClassVar[list[ModelCase]]

    def __init__(self) -> None:
        super().__init__()
        self.cache: ReuseCache | None = None
        self.streams: list[Stream] = []

    @initialize(data=st.data(), base=st.booleans(), batch=st.integers(1, 3), seed=SEEDS)
    def start(self, data: st.DataObject, base: bool, batch: int, seed: int) -> None:
        self.case = data.draw(st.sampled_from(self.cases))
        self.model = model_of(str(self.case), base)
        blank = torch.zeros(3, *self.case.size)
        self.streams = [Stream(next_frames(blank, 1, seed + index, "cut")) for index in range(batch)]

    def has_cache(self) -> bool:
        return self.cache is not None

    @torch.no_grad()
    def call(self, clips: list[torch.Tensor], **options: Any) -> None:
        """Runs the streams together and each on its own; decisions are the same, states but for rounding."""
        together = self.model(torch.stack(clips), past_key_values=self.cache, output_reuse_plan=True, **options)
        self.cache = together.past_key_values
        states = self.case.states(together)
        for index, (stream, clip) in enumerate(zip(self.streams, clips)):
            own = options if stream.cache is not None or "stride" not in options else {}
            alone = self.model(clip[None], past_key_values=stream.cache, output_reuse_plan=True, **own)
            stream.cache = alone.past_key_values
            for name, part in alone.reuse.items():
                assert torch.equal(part[0], together.reuse[name][index]), name
            assert_near(states[index], self.case.states(alone)[0], 1e-4)

    def rearrange(self, chosen: list[int]) -> None:
        self.streams = [copy.deepcopy(self.streams[index]) for index in chosen]

    @precondition(has_cache)
    @rule(data=st.data())
    def reset_some(self, data: st.DataObject) -> None:
        count = len(self.streams)
        chosen = data.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=2))
        self.cache.reset(chosen)
        for index in chosen:
            self.streams[index].cache = None

    @precondition(has_cache)
    @rule()
    def reset_all(self) -> None:
        self.cache.reset()
        for stream in self.streams:
            stream.cache = None

    @precondition(has_cache)
    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        order = data.draw(st.permutations(range(len(self.streams))))
        self.cache.reorder_cache(torch.tensor(order))
        self.rearrange(order)

    @precondition(has_cache)
    @rule(data=st.data())
    def select(self, data: st.DataObject) -> None:
        if self.cache.batch_size > 0:
            count = len(self.streams)
            chosen = data.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=MOST_STREAMS))
            self.cache.batch_select_indices(torch.tensor(chosen))
            self.rearrange(chosen)

    @precondition(has_cache)
    @rule()
    def repeat(self) -> None:
        count = len(self.streams)
        if self.cache.batch_size > 0 and 2 * count <= MOST_STREAMS:
            self.cache.batch_repeat_interleave(2)
            self.rearrange([index for index in range(count) for _ in range(2)])

    @precondition(has_cache)
    @rule(change=st.sampled_from([lambda cache: cache.offload(), lambda cache: None]))
    def copy_and_offload(self, change: Callable[[ReuseCache], None]) -> None:
        self.cache = copy.deepcopy(self.cache)
        change(self.cache)


class FrameMachine(ModelMachine):
    cases = FRAME_CASES

    @rule(
        frames=st.integers(1, 4),
        seed=SEEDS,
        kinds=st.lists(
            st.sampled_from(["still", "noise", "objects", "objects", "cut"]),
            min_size=MOST_STREAMS,
            max_size=MOST_STREAMS,
        ),
    )
    def see_frames(self, frames: int, seed: int, kinds: list[str]) -> None:
        clips = []
        for index, stream in enumerate(self.streams):
            clips.append(next_frames(stream.frames[-1], frames, seed + index, kinds[index]))
            stream.frames = clips[-1]
        self.call(clips)

    @precondition(ModelMachine.has_cache)
    @rule(frames=st.integers(1, 3))
    def crop(self, frames: int) -> None:
        self.cache.crop(-frames)
        for stream in self.streams:
            if stream.cache is not None:
                stream.cache.crop(-frames)


class WindowMachine(ModelMachine):
    cases: ClassVar[list[WindowCase]] = WINDOW_CASES

    @rule(
        stride=st.sampled_from([1, 2, 2, 3, 4, 8]),
        tells=st.booleans(),
        seed=SEEDS,
        kinds=st.lists(
            st.sampled_from(["still", "noise", "objects", "cut"]), min_size=MOST_STREAMS, max_size=MOST_STREAMS
        ),
    )
    def see_a_window(self, stride: int, tells: bool, seed: int, kinds: list[str]) -> None:
        wanted, clips = self.case.frames, []
        for index, stream in enumerate(self.streams):
            count = stride if len(stream.frames) == wanted else wanted
            new = next_frames(stream.frames[-1], count, seed + index, kinds[index])
            stream.frames = torch.cat([stream.frames, new])[-wanted:]
            clips.append(stream.frames)
        self.call(clips, **({"stride": stride} if tells and self.cache is not None else {}))


TestFrames = FrameMachine.TestCase
TestFrames.settings = few(0.5)
TestWindows = WindowMachine.TestCase
TestWindows.settings = few(0.5)

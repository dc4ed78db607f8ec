"""What the invariants need to know of a model: its classes, sizes and settings."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from hf_ttr.caching.cache import ReuseCache
from hf_ttr.models.register import parent_of

from ..tiny import made_once, make_clip


@dataclass(frozen=True)
class ModelCase:
    """
    A tiny model with reuse and its parent, in one setting.

    Attributes:
        name: what is special about the case; part of the test's id.
        classifier, base: the classes with reuse, for clips and without a head; `classifier` is that without a head
            where there is no other.
        config: the tiny values of the config; where it is one of several parts, those of the part that sees stand
            under `vision_config`.
        frame_classifier: the class with reuse for single frames, if there is one.
        prefix: tokens in front of the patches of a frame.
        reads: how many of them the head reads; `None` if it reads all tokens.
        settings: of reuse.
        batch, frames, size, dtype, attention: of the calls.
        headless: whether what is tested with and without a head is tested without or with one only; `None` for both.
    """

    name: str
    classifier: type[PreTrainedModel]
    base: type[PreTrainedModel]
    config: dict[str, Any]
    frame_classifier: type[PreTrainedModel] | None = None
    prefix: int = 1
    reads: int | None = 1
    settings: dict[str, Any] = field(default_factory=dict)
    batch: int = 2
    frames: int = 7
    size: tuple[int, int] = (24, 24)
    dtype: torch.dtype = torch.float32
    attention: str = "sdpa"
    headless: bool | None = None
    cache_name: ClassVar[str] = "TemporalReuseCache"
    layers_name: ClassVar[str] = "num_hidden_layers"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.settings['mode']}-{self.name}-B{self.batch}-T{self.frames}-{dtype}-{self.attention}"

    @property
    def config_class(self) -> type[PreTrainedConfig]:
        """Of the classifier."""
        return self.classifier.config_class

    def config_of(self, base: bool = False, **changes: Any) -> dict[str, Any]:
        """Values of the config of the classifier, or of the model without a head, with changes of what sees."""
        if "vision_config" not in self.config:
            return {**self.config, **changes}
        vision = {**self.config["vision_config"], **changes}
        return vision if base else {**self.config, "vision_config": vision}

    @property
    def reduces(self) -> bool:
        """Whether rows are merged or left out, so that not even threshold 0 gives what the parent gives."""
        return bool(self.settings.get("reduction"))

    @property
    def tolerance(self) -> float:
        """Largest relative difference between two orders of the same computation."""
        return 1e-5 if self.dtype == torch.float32 else 4e-2

    def with_settings(self, **changes: Any) -> ModelCase:
        """The same case with other settings of reuse."""
        return replace(self, settings={**self.settings, **changes})

    def clip(self, seed: int = 0) -> torch.Tensor:
        """`(batch, frames, channels, height, width)`."""
        return make_clip(self.batch, self.frames, self.size, seed=seed)

    def parent(self, base: bool = False, seed: int = 0) -> PreTrainedModel:
        """The model of transformers, with random weights."""
        parent: Any = parent_of(self.base if base else self.classifier)
        values = {**self.config_of(base), "attn_implementation": self.attention}

        def make() -> PreTrainedModel:
            return parent(parent.config_class(**copy.deepcopy(values))).to(self.dtype).eval()

        return made_once(make, seed, type(self), parent, values, self.dtype)

    def model(
        self, base: bool = False, single_frames: bool = False, seed: int = 0, **settings: Any
    ) -> PreTrainedModel:
        """The model with reuse, with the weights of `parent`."""
        model_class: Any = self.base if base else self.frame_classifier if single_frames else self.classifier
        values = {
            **self.config_of(base),
            "temporal_reuse": {**self.settings, **settings},
            "attn_implementation": self.attention,
        }

        def make() -> PreTrainedModel:
            model = model_class(model_class.config_class(**copy.deepcopy(values))).to(self.dtype)
            model.load_state_dict(self.parent(base, seed).state_dict())
            return model.eval()

        return made_once(make, seed, type(self), model_class, values, self.dtype)

    def states(self, output: ModelOutput) -> torch.Tensor:
        """What a model says of every frame: logits, or last hidden states."""
        return output.frame_logits if "frame_logits" in output else output.last_hidden_state

    @property
    def times(self) -> int:
        """Times that the plan of a clip has."""
        return self.frames

    @property
    def in_front(self) -> int:
        """Tokens in front of which a plan says nothing, as they are always computed."""
        return 0

    def pieces(self, *sizes: int) -> tuple[torch.Tensor, ...]:
        """The inputs of several calls that follow one another: the clip in pieces of the given numbers of frames."""
        return self.clip().split(list(sizes), dim=1)

    def parent_input(self, clip: torch.Tensor) -> torch.Tensor:
        """A clip as the parent takes it."""
        return clip.flatten(0, 1)

    def as_parent(self, part: Any) -> Any:
        """An output of the model with reuse in the parent's shape, also in tuples."""
        if isinstance(part, tuple):
            return tuple(map(self.as_parent, part))
        return None if part is None else part.flatten(0, 1)

    def clip_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits of the clips from those of the parent."""
        return logits.unflatten(0, (self.batch, -1)).mean(1)

    def always_computed(self, plan: torch.Tensor, past: bool = False) -> torch.Tensor:
        """What is computed whatever the content: the tokens in front, and a first frame without a past."""
        always = torch.zeros_like(plan)
        always[:, :, : self.prefix] = True
        if not past:
            always[:, 0] = True
        return always


@dataclass(frozen=True)
class WindowCase(ModelCase):
    """
    A model that sees a window at once; it takes as many frames as it has, in its own dtype.

    Attributes:
        stride: frames from one window of a stream to the next.
    """

    prefix: int = 0
    reads: int | None = None
    frames: int = 8
    stride: int = 2
    cache_name: ClassVar[str] = "TemporalReuseWindowCache"

    @property
    def first_is_read(self) -> bool:
        """Whether the head reads the first slot."""
        return not self.config.get("use_mean_pooling", True)

    @property
    def tubelet(self) -> int:
        """Frames that share tokens."""
        return self.config_class(**self.config).tubelet_frames

    @property
    def times(self) -> int:
        return self.frames // self.tubelet

    @property
    def in_front(self) -> int:
        return self.prefix

    def clip(self, seed: int = 0) -> torch.Tensor:
        return super().clip(seed).to(self.dtype)

    def windows(self, count: int, stride: int | None = None, seed: int = 0) -> list[torch.Tensor]:
        """The first windows of longer streams."""
        stride = stride or self.stride
        video = make_clip(self.batch, self.frames + stride * (count - 1), self.size, seed=seed).to(self.dtype)
        return [video[:, stride * index : stride * index + self.frames] for index in range(count)]

    def pieces(self, *sizes: int) -> tuple[torch.Tensor, ...]:
        """As many windows as there are sizes: all windows are alike."""
        return tuple(self.windows(len(sizes)))

    def states(self, output: ModelOutput) -> torch.Tensor:
        """What a model says of a window: logits, or last hidden states."""
        return output.logits if "logits" in output else output.last_hidden_state

    def parent_input(self, clip: torch.Tensor) -> torch.Tensor:
        return clip

    def as_parent(self, part: Any) -> Any:
        return part

    def clip_logits(self, logits: torch.Tensor) -> torch.Tensor:
        return logits

    def always_computed(self, plan: torch.Tensor, past: bool = False) -> torch.Tensor:
        """The slot that the head reads; and a token for each position of a window without a past, anywhere."""
        always = torch.zeros_like(plan)
        always[:, 0, 0] = self.first_is_read
        return always


def with_and_without_a_head(cases: Sequence[ModelCase]) -> list[ModelCase]:
    """Many cases, of which each second one is tested without a head and the others with one."""
    return [replace(case, headless=bool(number % 2)) for number, case in enumerate(cases)]


def run_pieces(
    model: PreTrainedModel, pieces: Sequence[torch.Tensor], cache: ReuseCache | None = None, **options: Any
) -> tuple[list[ModelOutput], ReuseCache]:
    """Runs pieces of the same streams, one after another; returns the outputs and the cache."""
    outputs = []
    for piece in pieces:
        output = model(piece, past_key_values=cache, output_reuse_plan=True, **options)
        cache = output.past_key_values
        outputs.append(output)
    return outputs, cache


def assert_near(actual: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Fails if the largest difference, relative to the largest value, is above the tolerance."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    actual, expected = actual.detach().double(), expected.detach().double()
    difference = (actual - expected).abs().max() / expected.abs().max().clamp(min=1e-12)
    assert float(difference) <= tolerance


def assert_same(actual: Any, expected: Any) -> None:
    """Fails unless both are equal bit for bit, in nested tuples of tensors and `None`."""
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for actual_part, expected_part in zip(actual, expected):
            assert_same(actual_part, expected_part)
    elif expected is None:
        assert actual is None
    else:
        assert torch.equal(actual, expected)


def assert_same_cache(actual: ReuseCache, expected: ReuseCache, tolerance: float) -> None:
    """Fails unless both caches hold the same, up to rounding; ages and the like are exact."""
    for layer, expected_layer in zip(actual.layers, expected.layers, strict=True):
        assert_near(layer.keys, expected_layer.keys, tolerance)
        assert_near(layer.values, expected_layer.values, tolerance)
    for name, theirs in vars(expected.streams).items():
        mine = getattr(actual.streams, name)
        if not isinstance(theirs, torch.Tensor):
            assert mine == theirs
        elif theirs.is_floating_point():
            assert torch.equal(mine.isnan(), theirs.isnan())
            assert_near(mine.nan_to_num(), theirs.nan_to_num(), tolerance)
        else:
            assert torch.equal(mine, theirs)
    assert actual.owner == expected.owner
    assert actual.memory_bytes == expected.memory_bytes

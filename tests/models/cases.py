"""What the invariants need to know of a model: its classes, sizes and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from hf_ttr import TemporalReuseCache

from ..tiny import make_clip


@dataclass(frozen=True)
class ModelCase:
    """
    A tiny model with reuse and its parent, in one setting.

    Attributes:
        name: what is special about the case; part of the test's id.
        classifier, base, frame_classifier: the classes with reuse, for clips, without a head, and for single frames.
        parent_classifier, parent_base: the classes of transformers that they stand in for.
        config_class, parent_config_class, config: the configs, and their tiny values.
        settings: of reuse.
        batch, frames, size, dtype, attention: of the calls.
    """

    name: str
    classifier: type[PreTrainedModel]
    base: type[PreTrainedModel]
    frame_classifier: type[PreTrainedModel]
    parent_classifier: type[PreTrainedModel]
    parent_base: type[PreTrainedModel]
    config_class: type[PreTrainedConfig]
    parent_config_class: type[PreTrainedConfig]
    config: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    batch: int = 2
    frames: int = 7
    size: tuple[int, int] = (24, 24)
    dtype: torch.dtype = torch.float32
    attention: str = "sdpa"

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.settings['mode']}-{self.name}-B{self.batch}-T{self.frames}-{dtype}-{self.attention}"

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
        torch.manual_seed(seed)
        config = self.parent_config_class(**self.config, attn_implementation=self.attention)
        return (self.parent_base if base else self.parent_classifier)(config).to(self.dtype).eval()

    def model(
        self, base: bool = False, single_frames: bool = False, seed: int = 0, **settings: Any
    ) -> PreTrainedModel:
        """The model with reuse, with the weights of `parent`."""
        model_class = self.base if base else self.frame_classifier if single_frames else self.classifier
        settings = {**self.settings, **settings}
        config = self.config_class(**self.config, temporal_reuse=settings, attn_implementation=self.attention)
        model = model_class(config).to(self.dtype)
        model.load_state_dict(self.parent(base, seed).state_dict())
        return model.eval()

    def states(self, output: ModelOutput) -> torch.Tensor:
        """What a model says of every frame: logits, or last hidden states."""
        return output.frame_logits if "frame_logits" in output else output.last_hidden_state


def run_pieces(
    model: PreTrainedModel, clip: torch.Tensor, sizes: Sequence[int], cache: TemporalReuseCache | None = None
) -> tuple[list[ModelOutput], TemporalReuseCache]:
    """Runs a clip in pieces of the given numbers of frames; returns the outputs and the cache."""
    outputs = []
    for piece in clip.split(list(sizes), dim=1):
        output = model(piece, past_key_values=cache, output_reuse_plan=True)
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


def assert_same_cache(actual: TemporalReuseCache, expected: TemporalReuseCache, tolerance: float) -> None:
    """Fails unless both caches hold the same, up to rounding; ages are exact."""
    for layer, expected_layer in zip(actual.layers, expected.layers, strict=True):
        assert_near(layer.keys, expected_layer.keys, tolerance)
        assert_near(layer.values, expected_layer.values, tolerance)
    assert torch.equal(actual.streams.age, expected.streams.age)
    for name in ("reference", "scale", "saliency"):
        mine, theirs = getattr(actual.streams, name), getattr(expected.streams, name)
        assert torch.equal(mine.isnan(), theirs.isnan())
        assert_near(mine.nan_to_num(), theirs.nan_to_num(), tolerance)
    assert actual.owner == expected.owner
    assert actual.memory_bytes == expected.memory_bytes

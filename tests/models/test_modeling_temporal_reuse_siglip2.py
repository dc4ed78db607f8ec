from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

from hf_ttr import (
    TemporalReuseSiglip2ForImageClassification,
    TemporalReuseSiglip2ForVideoClassification,
    TemporalReuseSiglip2VisionModel,
)

from .cases import ModelCase, assert_near
from .few_cases import TINY_COMPOSITE, TINY_VISION, few_cases
from .fixtures import case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants


def as_patches(frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """Frames as the parent takes them."""
    patches = torch.stack([torch.from_numpy(convert_image_to_patches(frame.numpy(), 4)) for frame in frames.detach()])
    return {
        "pixel_values": patches,
        "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.long),
        "spatial_shapes": torch.tensor([[side // 4 for side in frames.shape[-2:]]] * len(frames)),
    }


class Siglip2Case(ModelCase):
    """The parent takes patches."""

    def parent(self, base: bool = False, seed: int = 0) -> PreTrainedModel:
        model = super().parent(base, seed)
        forward = model.forward
        model.forward = lambda frames, **options: forward(**as_patches(frames), **options)
        return model


VISION: dict[str, Any] = {name: value for name, value in TINY_VISION.items() if name != "image_size"}
CASES = few_cases(
    Siglip2Case,
    classifier=TemporalReuseSiglip2ForVideoClassification,
    base=TemporalReuseSiglip2VisionModel,
    frame_classifier=TemporalReuseSiglip2ForImageClassification,
    config={**TINY_COMPOSITE, "vision_config": {**VISION, "num_patches": 36}},
    prefix=0,
    reads=None,
    dtype=torch.bfloat16,
)
case, some_case, plain_case, causal_case = case_fixtures(CASES[:1])


class TestTemporalReuseSiglip2(FrameReuseInvariants, FrameClassifierInvariants):
    """The invariants of all frame-wise models with a head."""


@pytest.mark.parametrize("size", [(32, 32), (20, 36), (8, 48)], ids=lambda size: f"{size[0]}x{size[1]}")
@torch.no_grad()
def test_any_grid_of_patches(size: tuple[int, int]) -> None:
    case = Siglip2Case(**{**vars(CASES[0]), "size": size, "dtype": torch.float32})
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1)).logits
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        output = case.model(**settings)(clip)
        assert_near(output.frame_logits.flatten(0, 1), expected, tolerance)
    output = case.model()(clip[:, [0, 0]])
    assert output.reuse.computed_tokens.tolist() == [(size[0] // 4) * (size[1] // 4)] * 2


@torch.no_grad()
def test_pixels_behind_the_last_whole_patch_are_left_out() -> None:
    clip = CASES[0].clip()
    model = CASES[0].model(threshold=0).float()
    expected = model(clip).frame_logits
    larger = torch.nn.functional.pad(clip, (0, 3, 0, 2))
    assert_near(model(larger).frame_logits, expected, 1e-6)


def test_the_frames_that_a_model_was_trained_with() -> None:
    config = CASES[0].model().config
    assert config.frame_size == config.vision_config.frame_size == (24, 24)
    assert config.model_shape().tokens == 36

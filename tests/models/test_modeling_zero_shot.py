"""Models that compare frames with labels: the invariants, with the parent's own code on labels that stay the same."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput

from hf_ttr.models.register import MODELS

from ..tiny_texts import PARENTS, text_config
from .cases import ModelCase
from .few_cases import few_cases
from .fixtures import case_fixtures
from .modeling_invariants import ClassifierInvariants, FrameClassifierInvariants, FrameReuseInvariants
from .test_modeling_temporal_reuse_siglip2 import as_patches


class _Read(nn.Module):
    """What a text tower makes of five labels, without reading them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.features = nn.Parameter(torch.randn(5, size, generator=torch.Generator().manual_seed(1)))

    def forward(self, **kwargs: Any) -> BaseModelOutputWithPooling:
        return BaseModelOutputWithPooling(pooler_output=self.features)


def _compare(model: Any, frames: torch.Tensor, **options: Any) -> ImageClassifierOutput:
    """The parent's code on pictures, with what belongs to pictures."""
    inputs = as_patches(frames) if model.config.model_type == "siglip2" else {"pixel_values": frames}
    output = type(model).forward(model, input_ids=None, **inputs, **options)
    seen = output.vision_model_output
    return ImageClassifierOutput(
        logits=output.logits_per_image, hidden_states=seen.hidden_states, attentions=seen.attentions
    )


class ZeroShotCase(ModelCase):
    """The parent has both towers, of which the one for texts is not what is tested."""

    def parent(self, base: bool = False, seed: int = 0) -> PreTrainedModel:
        model: Any = super().parent(base, seed)
        if not base:
            with_projection = hasattr(model, "text_projection")
            size = model.text_projection.out_features if with_projection else model.text_model.head.out_features
            model.text_model = _Read(size).to(self.dtype)
            if with_projection:
                model.text_projection = nn.Identity()
            model.forward = partial(_compare, model)
        elif self.classifier.config_class.parent_model_type == "siglip2":
            forward = model.forward
            model.forward = lambda frames, **options: forward(**as_patches(frames), **options)
        return model


def _cases(kind: str, **options: Any) -> list[ModelCase]:
    entry = MODELS[f"temporal_reuse_{kind}"]
    seen = MODELS[f"temporal_reuse_{kind}_vision_model"]
    return few_cases(
        ZeroShotCase,
        classifier=entry.zero_shot,
        base=seen.base,
        config={**text_config(kind), "num_labels": 5, "hypothesis_template": "{}"},
        prefix=0 if "siglip" in kind else 1,
        reads=None if "siglip" in kind else 1,
        headless=False,
        **options,
    )


FAMILIES = {kind: _cases(kind, **({"dtype": torch.bfloat16} if kind == "siglip2" else {})) for kind in PARENTS}
# With a token in front, and without; the others have the same body, and are compared with their parents.
CASES = [FAMILIES["clip"][0], FAMILIES["clip"][2], FAMILIES["siglip2"][0]]
PLAIN = [FAMILIES["clip"][1], FAMILIES["metaclip_2"][0], FAMILIES["siglip"][0]]
case, some_case, plain_case, causal_case = case_fixtures(CASES, PLAIN)


class TestZeroShot(FrameReuseInvariants, ClassifierInvariants):
    """The invariants of all frame-wise models with a head, but for those of single frames."""

    test_logits = FrameClassifierInvariants.test_logits_are_the_mean_of_the_frame_logits


@torch.no_grad()
def test_another_resolution() -> None:
    case = ModelCase.__new__(ZeroShotCase)
    case.__dict__.update({**vars(CASES[0]), "size": (20, 36)})
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1), interpolate_pos_encoding=True).logits
    for settings, tolerance in (({"mode": "off"}, 0.0), ({"threshold": 0}, 1e-5)):
        output = case.model(**settings)(clip, interpolate_pos_encoding=True)
        torch.testing.assert_close(output.frame_logits.flatten(0, 1), expected, atol=tolerance, rtol=tolerance)


def test_a_model_that_was_given_no_labels_says_so() -> None:
    case = CASES[0]
    model: Any = case.classifier(case.config_class(**text_config("clip"))).eval()
    with pytest.raises(ValueError, match=r"reads its labels and was given none; choose some with hf_ttr\.zero_shot\("):
        model(case.clip())

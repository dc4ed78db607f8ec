from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from hf_ttr import (
    TemporalReuseBeitForImageClassification,
    TemporalReuseBeitForVideoClassification,
    TemporalReuseBeitModel,
)

from ..tiny import TINY_VIT
from .cases import ModelCase, assert_near
from .few_cases import few_cases
from .fixtures import case_fixtures
from .modeling_invariants import FrameClassifierInvariants, FrameReuseInvariants


class BeitCase(ModelCase):
    """Positions, biases and scales are made at random: the parent's are nothing, or next to nothing."""

    def clip(self, seed: int = 0) -> torch.Tensor:
        """The parent takes pixels of its own dtype."""
        return super().clip(seed).to(self.dtype)

    def parent(self, base: bool = False, seed: int = 0) -> PreTrainedModel:
        model = super().parent(base, seed)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "bias_table" in name or "lambda" in name or "embeddings" in name:
                parameter.data.normal_(generator=generator)
        return model


CONFIG: dict[str, Any] = {**TINY_VIT, "drop_path_rate": 0.0}
POSITIONS: dict[str, dict[str, Any]] = {
    "own": {"use_relative_position_bias": True},
    "shared": {"use_shared_relative_position_bias": True, "use_mean_pooling": False},
    "both": {"use_relative_position_bias": True, "use_shared_relative_position_bias": True},
    "absolute": {"use_absolute_position_embeddings": True, "layer_scale_init_value": 0.0, "use_mean_pooling": False},
}


def beit_cases(positions: str, **options: Any) -> list[ModelCase]:
    config = {**CONFIG, **POSITIONS[positions]}
    return few_cases(
        BeitCase,
        classifier=TemporalReuseBeitForVideoClassification,
        base=TemporalReuseBeitModel,
        frame_classifier=TemporalReuseBeitForImageClassification,
        config=config,
        reads=None if config.get("use_mean_pooling", True) else 1,
        **options,
    )


# The biases of the layers, and one that they share, in a model whose head reads but one token.
CASES = [beit_cases("own", dtype=torch.bfloat16)[0], beit_cases("shared")[2]]
case, some_case, plain_case, causal_case = case_fixtures(CASES)


class TestTemporalReuseBeit(FrameReuseInvariants, FrameClassifierInvariants):
    """The invariants of all frame-wise models with a head."""


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@torch.no_grad()
def test_every_kind_of_position(positions: str, mode: str) -> None:
    case = beit_cases(positions, dtype=torch.float32)[0].with_settings(mode=mode)
    clip = case.clip()
    expected = case.parent()(clip.flatten(0, 1)).logits
    output = case.model(threshold=0)(clip)
    assert_near(output.frame_logits.flatten(0, 1), expected, 1e-5)
    # A token that is used again has the bias of where it is.
    still = clip[:, :1].repeat(1, 4, 1, 1, 1)
    output = case.model()(still)
    assert output.reuse.computed_tokens.tolist() == [37 + 3] * 2
    assert_near(output.frame_logits, output.frame_logits[:, :1].expand(-1, 4, -1), 1e-5)


@pytest.mark.parametrize("changed", [2, 20], ids=["few-rows", "many-rows"])
@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@torch.no_grad()
def test_what_attends_to_reused_tokens_is_as_in_the_parent(positions: str, mode: str, changed: int) -> None:
    """In the only layer, keys and values of patches that stayed the same are those of the parent."""
    case = beit_cases(positions, dtype=torch.float32)[0]
    case = BeitCase(**{**vars(case), "config": {**case.config, "num_hidden_layers": 1}})
    settings = {"mode": mode, "threshold": 1e-4, "context_weight": 0, "saliency_weight": 0, "scene_cut": 1}
    model, parent = case.model(base=True, **settings), case.parent(base=True)
    clip = case.clip()[:, :1].repeat(1, 3, 1, 1, 1)
    patches = clip[:, 1:].unflatten(-1, (6, 4)).unflatten(-3, (6, 4)).permute(0, 1, 3, 5, 2, 4, 6).flatten(2, 3)
    generator = torch.Generator().manual_seed(0)
    for time in range(2):
        chosen = torch.randperm(36, generator=generator)[:changed]
        patches[:, time:, chosen] += torch.randn(2, 1, changed, 3, 4, 4, generator=generator)
    clip[:, 1:] = patches.unflatten(2, (6, 6)).permute(0, 1, 4, 2, 5, 3, 6).flatten(-2).flatten(-3, -2)
    output = model(clip, output_reuse_plan=True)
    computed = output.reuse.plan
    assert (computed[:, 1:].sum(-1) > changed).all()
    assert (computed[:, 1:].sum(-1) < 37).all()
    expected = parent(clip.flatten(0, 1)).last_hidden_state.unflatten(0, (2, 3))
    assert_near(output.last_hidden_state[computed], expected[computed], 1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_other_resolutions(positions: str) -> None:
    case = BeitCase(**{**vars(beit_cases(positions, dtype=torch.float32)[0]), "size": (20, 36)})
    clip = case.clip()
    for interpolate in (False, True):
        expected = case.parent()(clip.flatten(0, 1), interpolate_pos_encoding=interpolate).logits
        for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
            output = case.model(**settings)(clip, interpolate_pos_encoding=interpolate)
            assert_near(output.frame_logits.flatten(0, 1), expected, tolerance)


@pytest.mark.parametrize("positions", ["own", "shared", "both"])
@pytest.mark.parametrize("method", [{"method": "tome", "r": 4}, {"method": "pruning", "keep": 0.7, "layers": [0, 1]}])
@torch.no_grad()
def test_frames_that_are_computed_whole_are_reduced_as_with_a_cache(positions: str, method: dict[str, Any]) -> None:
    """Without a cache frames attend to what is left of their rows, with the biases of where these were."""
    case = beit_cases(positions, dtype=torch.float32)[0].with_settings(reduction=method)
    clip = case.clip()
    for settings in ({"mode": "off"}, {"threshold": 0}):
        model = case.model(**settings)
        whole, alone = model(clip).frame_logits, model(clip[:, 2:3]).frame_logits
        assert whole.isfinite().all()
        assert_near(whole[:, 2:3], alone, 1e-5)
        assert (whole - case.parent()(clip.flatten(0, 1)).logits.unflatten(0, whole.shape[:2])).abs().max() > 1e-4

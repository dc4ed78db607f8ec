"""Calls whose outputs are read of all tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.configuration import DENSE_CONTEXT_WEIGHT, WHOLE_FRAME
from hf_ttr.planning.importance import neighbourhood_mean
from tests.tiny import make_clip, tiny_video_classifier


BUDGET: dict[str, Any] = {"compute_budget": 0.4, "frame_skipping": False}
OWN = {"saliency_weight": 0.0, "context_weight": DENSE_CONTEXT_WEIGHT, "context_size": WHOLE_FRAME}


def alike(plan: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether plans differ by ties alone, which rounding decides."""
    return bool((plan == other).float().mean() > 0.97) and abs(int(plan.sum()) - int(other.sum())) < 5


@pytest.mark.parametrize("is_bare", [True, False])
@torch.no_grad()
def test_positions_count_alike_and_what_changes_anywhere_counts(is_bare: bool) -> None:
    model: Any = tiny_video_classifier().base_model if is_bare else tiny_video_classifier()
    video = make_clip(batch=1, frames=9)

    def plan(**settings: Any) -> torch.Tensor:
        found: torch.Tensor = model(video, output_reuse_plan=True, temporal_reuse={**BUDGET, **settings}).reuse.plan
        return found

    assert alike(plan(dense_outputs=True), plan(**OWN))
    assert alike(plan(dense_outputs=True), plan(dense_outputs=True, saliency_weight=2.0, context_size=3))
    assert not alike(plan(dense_outputs=True), plan())


@pytest.mark.parametrize("mode", ["causal", "off"])
def test_other_modes_stay_as_they_are(mode: str) -> None:
    settings = hf_ttr.TemporalReuseConfig(mode=mode, saliency_weight=0.7, dense_outputs=True)
    found = settings.in_force()
    assert (found.saliency_weight, found.context_size, found.dense_outputs) == (0.7, 5, False)
    assert settings.dense_outputs


def test_a_neighbourhood_beyond_the_grid_is_the_whole_frame() -> None:
    values = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0))
    expected = values.mean(1, keepdim=True).expand_as(values)
    for size in (7, WHOLE_FRAME):
        torch.testing.assert_close(neighbourhood_mean(values, (3, 4), size), expected)
    assert not torch.allclose(neighbourhood_mean(values, (3, 4), 5), expected)

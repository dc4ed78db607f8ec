from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseVideoMAEConfig, TemporalReuseViTConfig
from hf_ttr.reduction import RunLength

from ..models.cases import assert_near
from ..models.test_modeling_temporal_reuse_videomae import videomae_case
from ..tiny import TINY_VIDEOMAE, TINY_VIT


PATCH = (2, 4, 4)


def still(times: int = 5) -> torch.Tensor:
    return torch.zeros(1, 2 * times, 3, 8, 8)


def test_a_run_is_measured_from_its_start() -> None:
    pixels = still()
    # The first patch drifts by .06 in each tubelet: never more than .1 from one to the next.
    pixels[0, :, :, :4, :4] += 0.06 * torch.arange(5).repeat_interleave(2)[:, None, None, None]
    pixels[0, 6:, :, 4:, 4:] = 1.0
    sources = RunLength(threshold=0.1).sources(pixels, PATCH)
    assert sources[0].T.tolist() == [[0, 0, 2, 2, 4], [0] * 5, [0] * 5, [0, 0, 0, 3, 3]]


def test_what_comes_back_within_a_tubelet_is_not_seen_and_pixels_beyond_the_patches_do_not_count() -> None:
    pixels = torch.zeros(2, 6, 3, 10, 9)
    pixels[0, 2, :, :4] = 1.0
    pixels[1, 4:, :, 8:] = 1.0
    assert (RunLength().sources(pixels, PATCH) == 0).all()


@pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
@torch.no_grad()
def test_threshold_0_of_reuse_is_run_lengths_alone(base: bool) -> None:
    case = videomae_case("run-length", "bidirectional", {})
    clip = case.clip()
    alone, nothing, both = (
        case.model(base, **settings)(clip)
        for settings in (
            {"mode": "off", "reduction": {"method": "run_length"}},
            {"mode": "off"},
            {"threshold": 0, "reduction": {"method": "run_length"}},
        )
    )
    assert_near(case.states(both), case.states(alone), 1e-5)
    assert (both.reuse.computed_share < 1).all()
    assert torch.equal(both.reuse.computed_tokens, alone.reuse.computed_tokens)
    assert not torch.allclose(case.states(alone), case.states(nothing), atol=1e-4)


@torch.no_grad()
def test_reuse_computes_no_more_than_the_runs_have() -> None:
    case = videomae_case("run-length", "bidirectional", {"context_weight": 0.1, "context_size": 3})
    for representative in ("spread", "interpolate", "middle", "start"):
        clip = case.clip()
        counts = [
            case.model(representative=representative, **settings)(clip).reuse.computed_tokens
            for settings in (
                {"reduction": {"method": "run_length"}, "mode": "off"},
                {},
                {"reduction": {"method": "run_length"}},
            )
        ]
        assert (counts[2] <= torch.minimum(*counts[:2])).all()


@pytest.mark.parametrize("threshold", [-1, "a", True], ids=str)
def test_bad_settings_are_refused_when_the_config_is_made(threshold: Any) -> None:
    with pytest.raises(
        ValueError, match="'run_length': threshold is .*, but must be a difference of normalised pixels"
    ):
        TemporalReuseVideoMAEConfig(
            **TINY_VIDEOMAE, temporal_reuse={"reduction": {"method": "run_length", "threshold": threshold}}
        )


def test_a_model_of_frames_has_no_runs() -> None:
    with pytest.raises(ValueError, match="looks for runs in a window of several times, but a ViT"):
        TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"reduction": {"method": "run_length"}})

"""Calls of which whole frames are left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.models import skipping
from hf_ttr.planning.plan import NEVER
from tests.tiny import tiny_parent, tiny_video_classifier


FRAMES = 9
KEPT = (0, 3, 5, 8)
SETTINGS: dict[str, Any] = {"compute_budget": 0.3, "context_weight": 0.1, "context_size": 3}


def clip(batch: int = 1, frames: int = FRAMES, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(batch, frames, 3, 24, 24, generator=torch.Generator().manual_seed(seed))
    return 0.3 * noise.cumsum(1)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The frames that each stream keeps, to be filled in."""
    frames: list[list[int]] = [list(KEPT)]
    monkeypatch.setattr(skipping, "choose_frames", lambda video, grid, budget: frames)
    return frames


@pytest.mark.parametrize("kind", ["cls", "all tokens"])
@torch.no_grad()
def test_kept_frames_are_a_call_of_their_own_and_the_others_lie_between(chosen: list[list[int]], kind: str) -> None:
    model = tiny_video_classifier(**SETTINGS)
    encoder = model.base_model if kind == "all tokens" else model
    video = clip()
    settings = skipping.settings_for(model.config.temporal_reuse, len(KEPT), FRAMES)
    alone = encoder(video[:, list(KEPT)], temporal_reuse=settings)
    output = encoder(video)
    states, own = (part.last_hidden_state if kind == "all tokens" else part.frame_logits for part in (output, alone))
    torch.testing.assert_close(states[:, list(KEPT)], own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[:, 1], torch.lerp(own[:, 0], own[:, 1], 1 / 3), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[:, 4], torch.lerp(own[:, 1], own[:, 2], 1 / 2), atol=1e-5, rtol=1e-5)


def test_settings_of_the_kept_frames() -> None:
    settings = hf_ttr.TemporalReuseConfig(compute_budget=0.3, max_age=24)
    own = skipping.settings_for(settings, 4, 9)
    assert own.compute_budget == pytest.approx(0.675) and own.max_age == 9 and not own.frame_skipping
    assert skipping.settings_for(settings, 2, 9).compute_budget == 1
    assert skipping.settings_for(settings, 9, 9).max_age == 24
    assert (settings.compute_budget, settings.max_age, settings.frame_skipping) == (0.3, 24, True)


@torch.no_grad()
def test_what_it_costs(chosen: list[list[int]]) -> None:
    model = tiny_video_classifier(**SETTINGS)
    video = clip()
    report = model(video, output_reuse_plan=True).reuse
    settings = skipping.settings_for(model.config.temporal_reuse, len(KEPT), FRAMES)
    alone = model(video[:, list(KEPT)], temporal_reuse=settings).reuse
    whole = model(video, temporal_reuse={"mode": "bidirectional", "threshold": 0}).reuse
    assert report.dense_multiply_adds == whole.dense_multiply_adds
    assert report.total_tokens == whole.total_tokens == FRAMES * 37
    assert report.computed_tokens == alone.computed_tokens == report.plan.sum()
    assert [time for time in range(FRAMES) if report.plan[0, time].any()] == list(KEPT)
    planning, heads = 9 * FRAMES**2 * 3 * 4 * 4, (FRAMES - len(KEPT)) * 32 * 5
    assert report.multiply_adds == alone.multiply_adds + planning + heads
    by_layer = report.computed_by_layer + report.reused_by_layer + report.merged_by_layer + report.pruned_by_layer
    assert bool((by_layer == report.total_tokens).all())


@torch.no_grad()
def test_streams_that_keep_other_frames_do_not_meet(chosen: list[list[int]]) -> None:
    model = tiny_video_classifier(**SETTINGS)
    kept = [[0, 4, 8], list(range(FRAMES)), [0, 4, 8], [0, 8]]
    video, coming = clip(4), clip(4, 1, seed=1)
    chosen[:] = kept
    together = model(video, output_reuse_plan=True, output_token_maps=True)
    after = model(coming, past_key_values=together.past_key_values)
    for stream, own in enumerate(kept):
        chosen[:] = [own]
        alone = model(video[stream, None], output_reuse_plan=True, output_token_maps=True)
        torch.testing.assert_close(together.frame_logits[stream, None], alone.frame_logits, atol=1e-5, rtol=1e-5)
        assert together.reuse.multiply_adds[stream] == alone.reuse.multiply_adds
        assert torch.equal(together.reuse.plan[stream, None], alone.reuse.plan)
        for name in ("computed", "age", "groups"):
            assert torch.equal(together.reuse.maps[name][stream, None], alone.reuse.maps[name]), name
        next_one = model(coming[stream, None], past_key_values=alone.past_key_values)
        torch.testing.assert_close(after.frame_logits[stream, None], next_one.frame_logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_cache_goes_on_in_place(chosen: list[list[int]]) -> None:
    model = tiny_video_classifier(**SETTINGS)
    first, second = clip(2), clip(2, seed=1)
    chosen[:] = [[0, 4, 8], [0, 2, 8]]
    cache = model(first).past_key_values
    assert model(second, past_key_values=cache).past_key_values is cache
    assert model(second, use_cache=False).past_key_values is None


@torch.no_grad()
def test_an_empty_cache_is_filled(chosen: list[list[int]]) -> None:
    model, video = tiny_video_classifier(**SETTINGS), clip(2)
    chosen[:] = [[0, 4, 8], [0, 2, 8]]
    cache = hf_ttr.TemporalReuseCache(num_layers=3)
    assert model(video, past_key_values=cache).past_key_values is cache and cache.batch_size == 2
    expected = model(clip(2, 1, seed=1), past_key_values=model(video).past_key_values).frame_logits
    torch.testing.assert_close(model(clip(2, 1, seed=1), past_key_values=cache).frame_logits, expected)


@torch.no_grad()
def test_ages_are_counted_in_frames_of_the_video(chosen: list[list[int]]) -> None:
    model = tiny_video_classifier(**{**SETTINGS, "compute_budget": 0.2})
    output = model(clip(), output_reuse_plan=True)
    plan, age = output.reuse.plan[0], output.past_key_values.streams.age[0]
    times = torch.arange(FRAMES)[:, None].where(plan, -1).amax(0)
    assert torch.equal(age, FRAMES - times) and not bool((age >= NEVER).any())
    again = model(clip(seed=1), past_key_values=output.past_key_values, output_reuse_plan=True)
    later = torch.arange(FRAMES)[:, None].where(again.reuse.plan[0], -1).amax(0)
    expected = torch.where(later < 0, age + FRAMES, FRAMES - later)
    assert torch.equal(again.past_key_values.streams.age[0], expected)


@torch.no_grad()
def test_maps_show_left_out_frames_as_the_nearest_kept_one(chosen: list[list[int]]) -> None:
    maps = tiny_video_classifier(**{**SETTINGS, "compute_budget": 1 / 3})(clip(), output_token_maps=True).reuse.maps
    nearest = [0, 0, 3, 3, 3, 5, 5, 8, 8]
    for time, source in enumerate(nearest):
        assert torch.equal(maps.groups[0, time], maps.groups[0, source])
        if time != source:
            assert not bool(maps.computed[0, time].any()) and bool((maps.age[0, time] >= abs(time - source)).all())
    first_frame = torch.arange(37)
    assert torch.equal(maps.groups[0, 0, :, 0], first_frame)


@torch.no_grad()
def test_long_calls_are_split_into_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_video_classifier(**SETTINGS)
    video = clip(2, 14)
    monkeypatch.setattr(skipping, "MAX_FRAMES", 6)
    whole = model(video, output_reuse_plan=True, output_token_maps=True)
    cache, parts = None, []
    for piece in video.split(6, dim=1):
        parts.append(model(piece, past_key_values=cache, output_reuse_plan=True, output_token_maps=True))
        cache = parts[-1].past_key_values
    torch.testing.assert_close(whole.frame_logits, torch.cat([part.frame_logits for part in parts], 1))
    assert torch.equal(whole.reuse.plan, torch.cat([part.reuse.plan for part in parts], 1))
    assert torch.equal(whole.reuse.multiply_adds, sum(part.reuse.multiply_adds for part in parts))
    assert torch.equal(whole.reuse.computed_share, whole.reuse.plan.float().mean((1, 2)))
    assert torch.equal(whole.reuse.maps.groups[:, 6:12], parts[1].reuse.maps.groups + 6 * 37)


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"frame_skipping": False}, {}),
        ({"threshold": 0.2}, {}),
        ({"mode": "causal"}, {}),
        ({"compute_budget": 1}, {}),
        ({}, {"output_hidden_states": True}),
        ({}, {"thresholds": torch.tensor([0.2])}),
    ],
    ids=str,
)
@torch.no_grad()
def test_frames_are_left_out_for_a_budget_alone(
    settings: dict[str, Any], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError("nobody asked for it")

    monkeypatch.setattr(skipping, "choose_frames", refuse)
    model = tiny_video_classifier(**{**SETTINGS, **settings})
    plan = model(clip(), output_reuse_plan=True, **options).reuse.plan
    assert bool(plan[..., 0].all())


def test_frames_that_would_be_left_out_are_looked_at(chosen: list[list[int]]) -> None:
    video = clip()
    video[0, 1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="pixel_values holds NaN"):
        tiny_video_classifier(**SETTINGS)(video)


@torch.no_grad()
def test_a_moving_camera_is_nearer_to_the_dense_model_with_frames_left_out() -> None:
    scene = torch.randn(3, 24, 24 + 4 * 16, generator=torch.Generator().manual_seed(0))
    video = torch.stack([scene[:, :, 4 * time : 4 * time + 24] for time in range(16)])[None]
    dense = tiny_parent()(video[0]).logits
    errors = {}
    for skips in (False, True):
        output = tiny_video_classifier(compute_budget=0.25, frame_skipping=skips)(video, output_reuse_plan=True)
        errors[skips] = (output.frame_logits[0] - dense).square().mean()
        assert bool(output.reuse.plan.any(-1).all()) != skips
    assert errors[True] < errors[False]

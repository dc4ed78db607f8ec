"""Clips in pieces of fixed shapes, without graphs: they compute what the usual way does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.execution import packed
from hf_ttr.models import captured_clips
from hf_ttr.models.captured_clips import CapturedClips
from hf_ttr.planning import bidirectional
from hf_ttr.planning import planner as planner_module

from ..host_reads import lists_read
from ..tiny import make_clip, tiny_parent
from .test_captured_steps import FRAME_MODELS, stream


SETTINGS: dict[str, Any] = {"threshold": 0.3, "context_weight": 0.1, "context_size": 3}
LARGE: dict[str, Any] = {"compute_budget": 0.4, "threshold": None, "frame_skipping": False}


def make(captured: bool, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = hf_ttr.with_temporal_reuse(tiny_parent(), {**SETTINGS, **settings})
    if captured:
        assert "captured steps: on" in str(hf_ttr.optimize(model, frozen=True, graphs=True))
    return model


def clips_of(model: Any) -> CapturedClips:
    found: CapturedClips = model.video_encoder.captured_clips
    assert not found.reason, found.reason
    return found


def assert_same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found.frame_logits, expected.frame_logits, rtol=1e-4, atol=1e-5)
    for name in ("computed_tokens", "total_tokens", "dense_multiply_adds", "computed_by_layer", "reused_by_layer"):
        assert torch.equal(found.reuse[name], expected.reuse[name]), name


@pytest.fixture
def cut() -> torch.Tensor:
    """Clips of which the second has a cut in the middle, and the first moves on."""
    clip = make_clip(frames=9)
    clip[1, 5:] = make_clip(frames=9, batch=2)[0, 5:].flip(-1) * 2 + 1
    return clip


@pytest.mark.parametrize("settings", [{}, LARGE, {"max_age": 3}, {"saliency_weight": 0.0}], ids=str)
@torch.no_grad()
def test_pieces_are_what_the_usual_way_computes(settings: dict[str, Any], cut: torch.Tensor) -> None:
    usual, model = make(False, **settings), make(True, **settings)
    for clip in (cut, cut.flip(0), cut[:, 2:]):
        expected, found = usual(clip), model(clip)
        assert 0 < float(expected.reuse.computed_share.min()) < 0.9
        assert_same(found, expected)
        for one, other in zip(found.past_key_values.streams.tensors(), expected.past_key_values.streams.tensors()):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert found.past_key_values.owner == expected.past_key_values.owner
    assert clips_of(model).captured >= 3


@torch.no_grad()
def test_long_clips_are_several_pieces(monkeypatch: pytest.MonkeyPatch, cut: torch.Tensor) -> None:
    for module in (planner_module, captured_clips):
        monkeypatch.setattr(module, "MAX_FRAMES", 3)
    for settings in ({}, LARGE):
        model = make(True, **settings)
        assert_same(model(cut), make(False, **settings)(cut))
        # Pieces of 3 and of 2 frames.
        assert len(next(iter(clips_of(model)._steps.values())).pieces) == 2


@torch.no_grad()
def test_the_cost_is_that_of_all_pairs(cut: torch.Tensor) -> None:
    model = make(True)
    report = model(cut).reuse
    cost = model.video_encoder.parts.cost(model.video_encoder, 36)
    head = model.classifier.in_features * model.classifier.out_features
    plan = make(False)(cut, output_reuse_plan=True).reuse.plan
    for number in range(2):
        counts = plan[number].sum(-1).tolist()
        rows = sum(counts)
        expected = 9 * (cost.patch + head) + (cost.layers - 1) * cost.layer(rows, rows * 37)
        expected += cost.layer_of_few(rows, 9 * 37, 9)
        # The first frame by itself, and the last whole one behind it.
        observed = 1 + any(count == 37 for count in counts[1:])
        expected += observed * (cost.layers * 37 * cost.pair // 2) + 36 * 8 * 8 * model.config.hidden_size
        assert int(report.multiply_adds[number]) == expected


@torch.no_grad()
def test_streams_go_on_behind_a_clip_and_none_is_lost(cut: torch.Tensor) -> None:
    usual, model = make(False), make(True)
    caches, expected = [], []
    for clip in (cut, cut.flip(1)):
        caches.append(model(clip).past_key_values)
        expected.append(usual(clip).past_key_values)
    # The second clip took the places of the first, whose cache has its own since.
    for cache, other in zip(caches, expected):
        kept = copy.deepcopy(cache)
        for mode in ("bidirectional", "causal"):
            rest = {"past_key_values": copy.deepcopy(kept), "temporal_reuse": {**SETTINGS, "mode": mode}}
            theirs = {**rest, "past_key_values": copy.deepcopy(other)}
            found, right = model(cut[:, :4].flip(1), **rest), usual(cut[:, :4].flip(1), **theirs)
            torch.testing.assert_close(found.frame_logits, right.frame_logits, rtol=1e-4, atol=1e-5)
    logits = [stream(model, cut[:, :3], cache)[0] for cache in caches]
    rights = [stream(usual, cut[:, :3], cache)[0] for cache in expected]
    for own, right in zip(logits, rights):
        torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_a_cache_forgets_is_not_where_clips_are_computed(cut: torch.Tensor) -> None:
    usual, model = make(False), make(True)
    first, other = model(cut), usual(cut)
    (clips,) = clips_of(model)._steps.values()
    places = [tensor.data_ptr() for tensor in clips.state.tensors()]
    for output in (first, other):
        output.past_key_values.reset([1])
    # Graphs read and write where they were captured.
    assert [tensor.data_ptr() for tensor in clips.state.tensors()] == places
    assert_same(model(cut.flip(1)), usual(cut.flip(1)))
    found, expected = (
        each(cut, past_key_values=output.past_key_values).frame_logits
        for each, output in ((model, first), (usual, other))
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_is_not_plain_goes_the_usual_way(cut: torch.Tensor) -> None:
    usual, model = make(False), make(True)
    assert model(cut, use_cache=False).past_key_values is None
    before = clips_of(model).captured
    for options in (
        {"output_reuse_plan": True},
        {"thresholds": torch.tensor([0.2, 0.4])},
        {"output_token_maps": True},
    ):
        torch.testing.assert_close(
            model(cut, **options).frame_logits, usual(cut, **options).frame_logits, rtol=1e-4, atol=1e-5
        )
    noise = torch.randn_like(cut) * 5
    torch.testing.assert_close(model(noise).frame_logits, usual(noise).frame_logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="NaN"):
        model(torch.full_like(cut, torch.nan))
    everything = {"threshold": 0.0}
    torch.testing.assert_close(
        model(cut, temporal_reuse=everything).frame_logits, usual(cut, temporal_reuse=everything).frame_logits
    )
    assert clips_of(model).captured == before
    assert copy.deepcopy(model).video_encoder.captured_clips is None


@torch.no_grad()
def test_the_host_reads_three_numbers_of_a_piece(monkeypatch: pytest.MonkeyPatch, cut: torch.Tensor) -> None:
    model = make(True)
    model(cut)
    # Attention's kernel takes the rows of each frame from the device; what stands for it here does not.
    monkeypatch.setattr(packed, "interpolated_attention", lambda query, *rest: query)
    # On the CPU alone tokens between corners are looked for.
    monkeypatch.setattr(bidirectional, "tokens_between", bidirectional.tokens_of_frames)
    monkeypatch.setattr(model.video_encoder, "_cache_for", lambda cache, *rest: cache)
    read = lists_read(monkeypatch)
    model(cut)
    assert read == [(3,)]


@pytest.mark.parametrize("name", sorted(FRAME_MODELS))
@torch.no_grad()
def test_clips_of_every_model_of_frames(name: str) -> None:
    from scripts.make_supported_table import NEAR, clip, tiny_config

    entry, results = FRAME_MODELS[name], []
    for captured in (False, True):
        torch.manual_seed(0)
        kind: Any = entry.video_classifier or entry.base
        model = kind(tiny_config(entry.config, temporal_reuse={**NEAR, "mode": "bidirectional"})).eval()
        if captured:
            hf_ttr.optimize(model, frozen=True, graphs=True)
        results.append(model(clip()).frame_logits)
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)

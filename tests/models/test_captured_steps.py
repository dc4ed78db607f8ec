"""Steps of fixed shapes, without graphs: they compute what the usual way does, and no cache is lost in them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.execution import packed
from hf_ttr.models import captured_steps
from hf_ttr.models.captured_steps import CapturedSteps, sizes_of_steps
from hf_ttr.models.register import MODELS

from ..host_reads import lists_read
from ..tiny import make_clip, tiny_parent


SETTINGS: dict[str, Any] = {"mode": "causal", "threshold": 0.3, "context_weight": 0.1, "context_size": 3}


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of any number of rows, so that nothing is filled up."""
    monkeypatch.setattr(
        captured_steps, "sizes_of_steps", lambda tokens, prefix, streams: list(range(tokens * streams))
    )


def make(steps: bool, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = hf_ttr.with_temporal_reuse(tiny_parent(), {**SETTINGS, **settings})
    if steps:
        report = hf_ttr.optimize(model, frozen=True, graphs=True)
        assert "captured steps: on" in str(report)
    return model


@torch.no_grad()
def stream(model: Any, clip: torch.Tensor, cache: Any = None) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Logits and numbers of computed tokens of each frame, and the cache."""
    logits, counts = [], []
    for frame in clip.split(1, dim=1):
        output = model(frame, past_key_values=cache)
        cache = output.past_key_values
        logits.append(output.frame_logits[:, 0])
        counts.append(output.reuse.computed_tokens)
    return torch.stack(logits), torch.stack(counts), cache


def steps_of(model: Any) -> CapturedSteps:
    found: CapturedSteps = model.video_encoder.captured_steps
    assert not found.reason
    return found


@pytest.mark.parametrize("settings", [{}, {"compute_budget": 0.3, "threshold": None}, {"max_age": 2}])
def test_steps_are_what_the_usual_way_computes(exact: None, settings: dict[str, Any]) -> None:
    clip, model = make_clip(frames=10), make(True, **settings)
    expected, counts, before = stream(make(False, **settings), clip)
    logits, own_counts, after = stream(model, clip)
    assert steps_of(model).captured > 2
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(own_counts, counts)
    for one, other in zip(before.streams.tensors(), after.streams.tensors()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_is_left_of_a_step_is_filled_with_tokens() -> None:
    clip = make_clip(frames=10)
    _, planned, _ = stream(make(False, compute_budget=0.3, threshold=None), clip)
    model = make(True, compute_budget=0.3, threshold=None)
    _, counts, _ = stream(model, clip)
    assert (counts.sum(1)[1:] >= planned.sum(1)[1:]).all()
    sizes = sizes_of_steps(37, 1, len(clip))
    for total, own in zip(counts.sum(1).tolist(), counts):
        # Of a step in which nearly everything is computed nothing is left.
        assert total in sizes or total == 37 * len(own)


@pytest.mark.parametrize("settings", [{}, {"saliency_weight": 0.0}])
def test_a_cut_in_one_stream_is_a_step(exact: None, settings: dict[str, Any]) -> None:
    clip = make_clip(frames=9)
    clip[1] = clip[1, :1]
    clip[0, 4:] = clip[0, 4:].flip(-1) * 2 + 1
    usual, model = make(False, **settings), make(True, **settings)
    expected, counts, before = stream(usual, clip)
    logits, own_counts, after = stream(model, clip)
    assert counts[4].tolist() == [37, 1]
    assert torch.equal(own_counts, counts)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(before.streams.tensors(), after.streams.tensors()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)
    (steps,) = steps_of(model)._steps.values()
    assert ((38, model.config.temporal_reuse.saliency_weight > 0)) in steps.runs


def test_what_is_computed_is_what_is_counted(exact: None) -> None:
    clip, model = make_clip(frames=3), make(True)
    with torch.no_grad():
        cache = model(clip[:, :1]).past_key_values
        report = model(clip[:, 1:2], past_key_values=cache).reuse
    cost = model.video_encoder.parts.cost(model.video_encoder, 36)
    for count, spent in zip(report.computed_tokens.tolist(), report.multiply_adds.tolist()):
        encoder = cost.patch + (cost.layers - 1) * cost.layer(count, count * 37) + cost.layer_of_few(count, 37, 1)
        assert spent - encoder == model.classifier.in_features * model.classifier.out_features
    assert (report.computed_by_layer + report.reused_by_layer == 37).all()


def test_two_sets_of_streams_take_turns(exact: None) -> None:
    one, other = make_clip(frames=8), make_clip(frames=8).flip(1)
    model, usual = make(True), make(False)
    expected = [stream(usual, clip)[0] for clip in (one, other)]
    caches: list[Any] = [None, None]
    found: list[list[torch.Tensor]] = [[], []]
    for time in range(8):
        for number, clip in enumerate((one, other)):
            logits, _, caches[number] = stream(model, clip[:, time : time + 1], caches[number])
            found[number].append(logits)
    for own, right in zip(found, expected):
        torch.testing.assert_close(torch.cat(own), right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", ["copy", "reset", "reorder", "usual"])
def test_what_is_done_to_a_cache_between_steps_is_seen(exact: None, change: str) -> None:
    clip, results = make_clip(frames=8), []
    for steps in (False, True):
        model = make(steps)
        _, _, cache = stream(model, clip[:, :4])
        rest = clip[:, 4:]
        if change == "copy":
            stream(model, clip.flip(1), copy.deepcopy(cache))
        elif change == "reset":
            cache.reset([1])
        elif change == "reorder":
            cache.reorder_cache(torch.tensor([1, 0]))
            rest = rest.flip(0)
        else:
            with torch.no_grad():
                cache = model(rest[:, :2], past_key_values=cache).past_key_values
        results.append(stream(model, rest, cache)[0])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_frames_that_are_new_or_not_finite_go_the_usual_way() -> None:
    clip, model = make_clip(frames=6), make(True)
    _, _, cache = stream(model, clip[:, :3])
    before = [tensor.clone() for tensor in cache.streams.tensors()]
    with pytest.raises(ValueError, match="NaN"):
        stream(model, torch.full_like(clip[:, :1], torch.nan), cache)
    for tensor, old in zip(cache.streams.tensors(), before):
        torch.testing.assert_close(tensor, old, equal_nan=True)
    _, counts, _ = stream(model, torch.randn_like(clip[:, :1]) * 5, cache)
    assert (counts == 37).all()


def test_the_cache_of_another_model_is_refused() -> None:
    clip, model = make_clip(frames=2), make(True)
    torch.manual_seed(1)
    other = hf_ttr.with_temporal_reuse(tiny_parent(num_hidden_layers=2), SETTINGS)
    _, _, cache = stream(other, clip)
    with pytest.raises(ValueError, match="was filled with"):
        stream(model, clip, cache)


def test_a_copy_of_a_model_has_no_steps() -> None:
    model = make(True)
    stream(model, make_clip(frames=3))
    assert copy.deepcopy(model).video_encoder.captured_steps is None


def test_the_host_reads_three_numbers_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, model = make_clip(frames=6), make(True)
    _, _, cache = stream(model, clip[:, :4])
    # Attention's kernel takes the rows of each frame from the device; what stands for it here does not.
    monkeypatch.setattr(packed, "interpolated_attention", lambda query, *rest: query)
    read = lists_read(monkeypatch)
    with torch.no_grad():
        model(clip[:, 4:5], past_key_values=cache)
    assert read == [(3,)]


FRAME_MODELS = {
    name: entry
    for name, entry in MODELS.items()
    if entry.config.__module__.startswith("hf_ttr.") and entry.image_classifier is not None
}


@pytest.mark.parametrize("name", sorted(FRAME_MODELS))
def test_steps_of_every_model_of_frames(exact: None, name: str) -> None:
    from scripts.make_supported_table import NEAR, clip, tiny_config

    entry, results = FRAME_MODELS[name], []
    for steps in (False, True):
        torch.manual_seed(0)
        kind: Any = entry.video_classifier or entry.base
        model = kind(tiny_config(entry.config, temporal_reuse={**NEAR, "mode": "causal"})).eval()
        if steps:
            hf_ttr.optimize(model, frozen=True, graphs=True)
        results.append(stream(model, clip())[0])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)

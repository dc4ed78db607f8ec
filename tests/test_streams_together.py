"""Streams that were apart go on together, with settings and thresholds of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr import TemporalReuseCache, TemporalReuseWindowCache

from .tiny import make_clip, tiny_parent, tiny_video_classifier, tiny_videomae


KINDS = ("causal", "bidirectional", "pruning", "videomae", "videomae pruning")


def settings_of(kind: str) -> dict[str, Any]:
    reduction = [{"method": "pruning", "keep": 0.7, "layers": [1]}] if "pruning" in kind else None
    return {"threshold": 0.3, "mode": "causal" if kind == "causal" else "bidirectional", "reduction": reduction}


def model_of(kind: str) -> Any:
    parent = tiny_videomae() if kind.startswith("videomae") else tiny_parent()
    return hf_ttr.with_temporal_reuse(parent, settings_of(kind))


def clips(kind: str, first: int, frames: int, streams: int) -> torch.Tensor:
    length = 8 if kind.startswith("videomae") else frames
    return make_clip(batch=streams, frames=24)[:, first : first + length]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_joined_streams_go_on_as_if_alone(kind: str) -> None:
    model = model_of(kind)
    caches, alone = [], []
    for stream in range(3):
        # Of different length so far: the second was never called again.
        cache = model(clips(kind, 0, 5, 3)[stream, None]).past_key_values
        if stream != 1:
            cache = model(clips(kind, 4, 3, 3)[stream, None], past_key_values=cache).past_key_values
        caches.append(cache)
    joined = type(caches[0]).join(caches)
    after = clips(kind, 8, 4, 3)
    together = model(after, past_key_values=joined)
    for stream in range(3):
        alone.append(model(after[stream, None], past_key_values=caches[stream]))
    torch.testing.assert_close(together.logits, torch.cat([out.logits for out in alone]), atol=1e-5, rtol=1e-4)
    computed = torch.cat([out.reuse.computed_tokens for out in alone])
    assert torch.equal(together.reuse.computed_tokens, computed)
    assert bool((computed < together.reuse.total_tokens).all())
    # And apart again.
    last = clips(kind, 12, 4, 3)
    part = together.past_key_values.take(torch.tensor([2, 0]))
    assert part.batch_size == 2 and together.past_key_values.batch_size == 3
    two = model(last[[2, 0]], past_key_values=part)
    for row, stream in enumerate((2, 0)):
        own = model(last[stream, None], past_key_values=alone[stream].past_key_values)
        torch.testing.assert_close(two.logits[row], own.logits[0], atol=1e-5, rtol=1e-4)
    # What is taken is a copy.
    again = model(last, past_key_values=together.past_key_values)
    torch.testing.assert_close(again.logits[[2, 0]], two.logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("empty", [TemporalReuseCache(2), TemporalReuseWindowCache(2)], ids=["frames", "windows"])
def test_empty_caches_are_not_joined(empty: Any) -> None:
    for caches in ([], [empty]):
        with pytest.raises(ValueError, match=f"a {type(empty).__name__} is joined from caches that hold streams"):
            type(empty).join(caches)


@torch.no_grad()
def test_caches_of_different_models_are_not_joined() -> None:
    clip = make_clip(batch=1)
    caches = [tiny_video_classifier(seed)(clip).past_key_values for seed in (0, 1)]
    with pytest.raises(ValueError, match="was filled with weights"):
        TemporalReuseCache.join(caches)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_settings_of_a_call(kind: str) -> None:
    clip = clips(kind, 0, 6, 2)
    model = model_of(kind)
    other = {"threshold": 1.5, "max_age": 3}
    changed = model_of(kind)
    changed.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**other)
    for settings in (other, hf_ttr.TemporalReuseConfig(**other)):
        out = model(clip, temporal_reuse=settings)
        assert torch.equal(out.logits, changed(clip).logits)
    assert model.config.temporal_reuse.threshold == 0.3
    dense = model(clip, temporal_reuse={"mode": "off"})
    assert dense.past_key_values is None and dense.reuse is None
    off = model_of(kind)
    off.config.temporal_reuse = hf_ttr.TemporalReuseConfig(mode="off")
    assert torch.equal(dense.logits, off(clip).logits)
    assert not torch.equal(dense.logits, model(clip).logits)
    with pytest.raises(ValueError, match="temporal_reuse.threshold is -1"):
        model(clip, temporal_reuse={"threshold": -1})


@pytest.mark.parametrize("budget", [None, 0.4], ids=["", "budget"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_each_stream_has_its_threshold(kind: str, budget: float | None) -> None:
    clip, more = clips(kind, 0, 6, 3), clips(kind, 6, 6, 3)
    model = model_of(kind)
    thresholds = [0.05, 0.5, 2.0]
    settings = {**settings_of(kind), "compute_budget": budget}
    first = model(clip, thresholds=torch.tensor(thresholds, dtype=torch.float64), temporal_reuse=settings)
    second = model(more, thresholds=thresholds, temporal_reuse=settings, past_key_values=first.past_key_values)
    for stream, threshold in enumerate(thresholds):
        own = {**settings, "threshold": threshold}
        alone = model(clip[stream, None], temporal_reuse=own)
        assert alone.reuse.computed_tokens.item() == first.reuse.computed_tokens[stream].item()
        torch.testing.assert_close(first.logits[stream], alone.logits[0], atol=1e-5, rtol=1e-4)
        alone = model(more[stream, None], temporal_reuse=own, past_key_values=alone.past_key_values)
        assert alone.reuse.computed_tokens.item() == second.reuse.computed_tokens[stream].item()
    assert first.reuse.computed_tokens[1] > first.reuse.computed_tokens[2] or budget is not None


@pytest.mark.parametrize("thresholds", [[0.1], [0.1, 0.0], [0.1, float("nan")], [[0.1, 0.1]]], ids=str)
@pytest.mark.parametrize("kind", ["causal", "videomae"])
@torch.no_grad()
def test_wrong_thresholds(kind: str, thresholds: Any) -> None:
    with pytest.raises(ValueError, match="must hold one number above 0 for each of the 2 streams"):
        model_of(kind)(clips(kind, 0, 3, 2), thresholds=thresholds)

"""The cache of models that look at frames first: what it holds of the last window goes where the streams go."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import VideoPrismForVideoClassification, VideoPrismVisionConfig

from hf_ttr import with_temporal_reuse
from hf_ttr.caching.snapshot import check_cache, load_cache, save_cache

from ..models.cases import assert_near, assert_same
from ..tiny import TINY_VIDEOPRISM, make_clip


def tiny_model() -> Any:
    torch.manual_seed(0)
    parent = VideoPrismForVideoClassification(VideoPrismVisionConfig(**TINY_VIDEOPRISM)).eval()
    return with_temporal_reuse(parent, {"mode": "causal", "context_weight": 0.1, "context_size": 3})


def windows(count: int, batch: int = 2) -> list[torch.Tensor]:
    """Windows of streams, two frames apart."""
    video = make_clip(batch, 8 + 2 * (count - 1), (24, 24))
    return [video[:, 2 * number : 2 * number + 8] for number in range(count)]


@torch.no_grad()
def test_a_stream_goes_on_from_a_snapshot(tmp_path: Path) -> None:
    model, (first, second, third) = tiny_model(), windows(3, batch=1)
    cache = model(first).past_key_values
    cache = model(second, past_key_values=cache, stride=2).past_key_values
    save_cache(cache, tmp_path / "stream.safetensors")
    again, _, _ = load_cache(tmp_path / "stream.safetensors")
    check_cache(again, model.config)
    expected = model(third, past_key_values=copy.deepcopy(cache), stride=2)
    output = model(third, past_key_values=again, stride=2)
    assert_same(output.logits, expected.logits)
    assert_same(output.reuse.to_tuple(), expected.reuse.to_tuple())
    again.window_states = again.window_states[:, 1:]
    with pytest.raises(ValueError, match="^window states has shape "):
        check_cache(again, model.config)


@torch.no_grad()
def test_caches_with_their_windows_are_joined_and_taken_apart() -> None:
    model, (first, second) = tiny_model(), windows(2)
    caches = [model(first[row : row + 1]).past_key_values for row in range(2)]
    joined = type(caches[0]).join(caches)
    output = model(second, past_key_values=joined, stride=2)
    for row, cache in enumerate(caches):
        alone = model(second[row : row + 1], past_key_values=cache, stride=2)
        assert_near(output.logits[row], alone.logits[0], 1e-5)
        assert_near(joined.take(torch.tensor([row])).window_states, cache.window_states, 1e-5)
    assert joined.memory_bytes > joined.window_states.nbytes


@torch.no_grad()
def test_streams_are_forgotten_and_chosen_with_their_windows() -> None:
    model, (first, second) = tiny_model(), windows(2)
    cache = model(first).past_key_values
    chosen = copy.deepcopy(cache)
    chosen.batch_select_indices(torch.tensor([1, 1]))
    assert_same(chosen.window_states, cache.window_states[[1, 1]])
    assert_same(chosen.checksums, cache.checksums[[1, 1]])
    expected = model(second, past_key_values=copy.deepcopy(cache), stride=2)
    output = model(second[[1, 1]], past_key_values=chosen, stride=2)
    assert_near(output.logits, expected.logits[[1, 1]], 1e-5)
    # A stream that was forgotten may show anything, and is computed whole.
    cache.reset([0])
    again = model(torch.cat([first[:1].flip(1), second[1:]]), past_key_values=cache, stride=2)
    assert again.reuse.computed_tokens[1] == expected.reuse.computed_tokens[1]
    assert_near(again.logits[1], expected.logits[1], 1e-5)
    cache.reset()
    assert cache.window_states is None and cache.checksums is None and cache.memory_bytes == 0

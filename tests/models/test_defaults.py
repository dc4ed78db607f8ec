"""What torch makes where nothing is said of dtype and device is not what a model computes with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.models.configuration_reuse import ReuseConfigMixin

from ..tiny import make_clip, tiny_parent, tiny_videomae


FRAMES = 8
CLIP = make_clip(2, FRAMES)
MAKERS = {"vit": tiny_parent, "videomae": tiny_videomae}
REDUCTIONS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "tome": [{"method": "tome", "r": 4}],
    "vidtome": [{"method": "vidtome"}],
    "vid_tldr": [{"method": "vid_tldr"}],
    "pruning": [{"method": "pruning", "keep": 0.8}],
    "random": [{"method": "pruning", "keep": 0.8, "by": "random"}],
    "run_length": [{"method": "run_length"}],
}
FITS_NOT = {("vit", "vid_tldr"), ("vit", "run_length"), ("videomae", "vidtome")}
KINDS = [(model, reduction) for model in MAKERS for reduction in REDUCTIONS if (model, reduction) not in FITS_NOT]


@torch.no_grad()
def answers(model: Any) -> list[torch.Tensor]:
    """What a model says of a clip, in two calls where it can, with streams that change places on the way."""
    cache, found = None, []
    config: ReuseConfigMixin = model.config
    for piece in CLIP.split(FRAMES if config.window_frames else FRAMES // 2, dim=1):
        output = model(piece, past_key_values=cache, output_token_maps=True)
        cache = output.past_key_values
        found += [output.logits, output.reuse.computed_share]
    assert cache is not None
    cache.batch_select_indices([1, 0])
    cache.reset([0])
    found.append(model(piece.flip(0), past_key_values=cache).logits)
    cache.batch_repeat_interleave(2)
    assert type(cache).join([cache, cache]).batch_size == 8
    return found


@pytest.fixture(params=KINDS, ids="-".join)
def model(request: pytest.FixtureRequest) -> Any:
    kind, reduction = request.param
    settings = {"mode": "bidirectional", "compute_budget": 0.4, "reduction": REDUCTIONS[reduction]}
    return hf_ttr.with_temporal_reuse(MAKERS[kind](), settings)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_the_default_dtype_does_not_matter(model: Any, dtype: torch.dtype) -> None:
    expected = answers(model)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        found = answers(model)
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(one, other) and one.dtype == other.dtype for one, other in zip(found, expected))


def test_the_default_device_does_not_matter(model: Any) -> None:
    expected = answers(model)
    with torch.device("meta"):  # of which nothing can be read
        found = answers(model)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@pytest.mark.parametrize("kind", MAKERS)
def test_nor_do_they_in_other_modes(kind: str, mode: str) -> None:
    model = hf_ttr.with_temporal_reuse(MAKERS[kind](), {"mode": mode, "threshold": 0.1})
    expected = answers(model)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        with torch.device("meta"):
            found = answers(model)
    finally:
        torch.set_default_dtype(before)
    assert all(map(torch.equal, found, expected))

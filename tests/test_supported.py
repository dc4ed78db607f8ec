"""docs/supported.md is true: what it says works, does, and what it says does not, ends as it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageClassification
from transformers.models.auto.configuration_auto import AutoConfig

import hf_ttr

from .tiny import make_clip, tiny_parent, tiny_video_classifier


ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "supported.md").read_text()
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "image_size": 32}


class Logits(torch.nn.Module):
    """A model of which a graph is to be written."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.model = tiny_video_classifier(**settings)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixels, return_dict=True).logits
        return logits


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_supported_table", ROOT / "scripts" / "make_supported_table.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_what_each_model_does(script: Any) -> None:
    tried = script.rows()
    assert len(tried) >= 15
    for page in (script.PAGE, script.README):
        assert script.filled(page.read_text(), tried) == page.read_text()


@pytest.mark.parametrize(
    ("kind", "name", "auto"),
    [("data2vec-vision", "Data2Vec", AutoModelForImageClassification)],
)
def test_models_without_reuse_are_refused(kind: str, name: str, auto: Any) -> None:
    assert name in PAGE
    model = auto.from_config(AutoConfig.for_model(kind, **SMALL))
    with pytest.raises(ValueError, match=f"there is no temporal reuse for a {type(model).__name__}; it is there for"):
        hf_ttr.with_temporal_reuse(model)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_the_dense_mode_is_traced_and_reuse_is_not() -> None:
    pixels, other = make_clip(batch=1, seed=0), make_clip(batch=1, seed=1)
    dense = Logits(mode="off")
    assert torch.equal(torch.jit.trace(dense, (pixels,), check_trace=False)(other), dense(other))
    with pytest.raises(RuntimeError, match="bool tensor"):
        torch.jit.trace(Logits(threshold=0.1), (pixels,), check_trace=False)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_numbers_compute_the_same_tokens(dtype: torch.dtype) -> None:
    pixels, model = make_clip(batch=1), tiny_video_classifier(threshold=0.1)
    expected = model(pixels)
    assert 0 < expected.reuse.computed_share.item() < 1
    out = model.to(dtype)(pixels.to(dtype))
    assert out.reuse.computed_share.item() == pytest.approx(expected.reuse.computed_share.item(), abs=0.02)
    assert out.logits.argmax() == expected.logits.argmax() and out.logits.dtype == dtype


def test_training_is_that_of_the_parent() -> None:
    pixels = make_clip(batch=1)
    model = hf_ttr.with_temporal_reuse(tiny_parent()).train()
    assert model(pixels).reuse is None


@torch.no_grad()
def test_where_all_states_are_asked_for_all_tokens_are_computed() -> None:
    model = tiny_video_classifier(threshold=0.1)
    for asked in ("output_hidden_states", "output_attentions"):
        assert model(make_clip(batch=1), **{asked: True}).reuse.computed_share.item() == 1 and asked in PAGE


def test_gradients_go_through_a_call_with_reuse() -> None:
    model = tiny_video_classifier(threshold=0.1)
    out = model(make_clip(batch=1))
    out.logits.sum().backward()
    assert out.reuse.computed_share.item() < 1
    assert model.vit.embeddings.patch_embeddings.projection.weight.grad.abs().sum() > 0

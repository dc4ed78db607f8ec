from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from hf_ttr import (
    TemporalReuseVideoMAEConfig,
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
)
from hf_ttr.configuration import REPRESENTATIVES
from hf_ttr.models.window_model import embed_tubelets
from hf_ttr.planning.window_plan import PastSlots, WindowPlan
from hf_ttr.planning.window_planner import WindowPlanner

from ..tiny import TINY_VIDEOMAE, tiny_videomae
from .cases import WindowCase, assert_near, assert_same, with_and_without_a_head
from .modeling_invariants import ClassifierInvariants, WindowReuseInvariants
from .videomae_reference import run_reference


def videomae_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> WindowCase:
    config = {**TINY_VIDEOMAE, **options.pop("config", {})}
    return WindowCase(
        name=name,
        classifier=TemporalReuseVideoMAEForVideoClassification,
        base=TemporalReuseVideoMAEModel,
        config=config,
        settings={"mode": mode, **settings},
        **options,
    )


# The clips are noise, in which a wide neighbourhood finds a change everywhere.
NEAR = {"context_weight": 0.1, "context_size": 3}
CASES = [
    videomae_case("spread", "bidirectional", NEAR),
    videomae_case("interpolate", "bidirectional", {"representative": "interpolate", **NEAR}),
    videomae_case("middle", "bidirectional", {"representative": "middle", "max_age": 3, **NEAR}, attention="eager"),
    videomae_case("start", "causal", NEAR),
    videomae_case("budget", "bidirectional", {"compute_budget": 0.4, **NEAR}, batch=3),
    videomae_case("first-token", "bidirectional", NEAR, config={"use_mean_pooling": False}),
    videomae_case("spread", "bidirectional", NEAR, dtype=torch.bfloat16),
    videomae_case("tome", "bidirectional", {**NEAR, "reduction": {"method": "tome", "r": 12}}),
    videomae_case(
        "pruning", "bidirectional", {**NEAR, "reduction": {"method": "pruning", "keep": 0.6, "layers": [0, 1]}}
    ),
    videomae_case("vid-tldr", "causal", {**NEAR, "reduction": {"method": "vid_tldr"}}),
    videomae_case("run-length", "bidirectional", {**NEAR, "reduction": {"method": "run_length"}}),
]


@pytest.fixture(params=with_and_without_a_head(CASES), ids=str)
def case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=[CASES[0], CASES[3]], ids=str)
def some_case(request: pytest.FixtureRequest) -> WindowCase:
    """For what does not hang on the settings: the handling of arguments, of copies, and of the grad mode."""
    return request.param


@pytest.fixture(params=[case for case in CASES if not case.reduces], ids=str)
def plain_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


class TestTemporalReuseVideoMAE(WindowReuseInvariants, ClassifierInvariants):
    """The invariants of all models that see a window at once."""


def random_plan(share: float, past: PastSlots | None, interpolate: bool, seed: int) -> WindowPlan:
    """A plan with about the given share of computed slots; the others take any row of their position."""
    generator = torch.Generator().manual_seed(seed)
    computed = torch.rand(2, 4, 36, generator=generator) < share
    sources = torch.rand(2, 4, 4, 36, generator=generator)
    if past is None:
        # At least one for each position.
        computed[:, seed % 4] |= ~computed.any(1)
    sources = sources.masked_fill(~computed[:, None], -1).argmax(2)
    if past is not None:
        held = torch.rand(2, 4, 36, generator=generator) < 0.5
        sources[held | ~computed.any(1, keepdim=True)] = -1
    sources = torch.where(computed, torch.arange(4)[:, None], sources)
    return WindowPlan.build(sources, past, interpolate)


# Each value of one with each value of the other two.
@pytest.mark.parametrize(
    ("base", "attention", "interpolate", "pooling"),
    [
        (False, "eager", False, True),
        (False, "eager", True, False),
        (True, "sdpa", True, True),
        (True, "sdpa", False, False),
    ],
    ids=[
        "classifier-hold-mean",
        "classifier-interpolate-first-token",
        "base-interpolate-mean",
        "base-hold-first-token",
    ],
)
@torch.no_grad()
def test_a_plan_is_carried_out_as_defined(
    monkeypatch: pytest.MonkeyPatch, base: bool, interpolate: bool, attention: str, pooling: bool
) -> None:
    config = {"use_mean_pooling": pooling}
    case = videomae_case("by-hand", "bidirectional", {}, attention=attention, config=config)
    model = case.model(base)
    cache = past = None
    for seed, (window, share) in enumerate(zip(case.windows(6), [0.3, 0.1, 0, 0.6, 1, 0.02])):
        plan = random_plan(share, None if cache is None else cache.streams.past, interpolate, seed)
        monkeypatch.setattr(WindowPlanner, "plan", lambda *_, plan=plan: plan)
        output = model(window, past_key_values=cache)
        cache = output.past_key_values
        expected, past = run_reference(model.base_model, window, plan, past)
        if base:
            expected = model.parts.norm_of(model, expected)
        elif pooling:
            expected = model.classifier(model.fc_norm(expected.mean(1)))
        else:
            expected = model.classifier(model.base_model.layernorm(expected[:, 0]))
        assert_near(case.states(output), expected, 1e-5)
        for layer, keys, values in zip(cache.layers, past.keys, past.values):
            assert_near(layer.keys.transpose(1, 2).flatten(2)[0], torch.stack(keys), 1e-5)
            assert_near(layer.values.transpose(1, 2).flatten(2)[0], torch.stack(values), 1e-5)
        assert cache.streams.counts == [past.streams.count(stream) for stream in range(2)]


@pytest.mark.parametrize("representative", REPRESENTATIVES)
@pytest.mark.parametrize("budget", [0.3, 0.5, 0.8])
@torch.no_grad()
def test_a_window_meets_its_budget(budget: float, representative: str) -> None:
    settings = {"compute_budget": budget, "representative": representative}
    case = videomae_case("budget", "bidirectional", settings, batch=3)
    for window in case.windows(3):
        shares = case.model()(window).reuse.computed_share
        assert (shares <= budget).all()
        assert (shares > budget - 0.1).any()


@torch.no_grad()
def test_a_rectangular_model_with_grey_frames() -> None:
    changes = {"image_size": (16, 24), "patch_size": (4, 8), "num_channels": 1, "qv_bias": False, "tubelet_size": 1}
    config = {**TINY_VIDEOMAE, **changes, "num_frames": 4}
    torch.manual_seed(0)
    parent = VideoMAEForVideoClassification(VideoMAEConfig(**config)).eval()
    clip = torch.randn(2, 4, 1, 16, 24)
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = TemporalReuseVideoMAEForVideoClassification(
            TemporalReuseVideoMAEConfig(**config, temporal_reuse=settings)
        ).eval()
        model.load_state_dict(parent.state_dict())
        assert_near(model(clip).logits, parent(clip).logits, tolerance)
    model.config.temporal_reuse.threshold = 0.5
    model.config.temporal_reuse.drift_weight = 0
    output = model(clip[:, :1].repeat(1, 4, 1, 1, 1))
    assert output.reuse.computed_tokens.tolist() == [12, 12]


@pytest.mark.parametrize("changes", [{"image_size": (26, 27)}, {"num_frames": 9}], ids=str)
@torch.no_grad()
def test_what_is_no_whole_patch_or_tubelet_is_left_out(changes: dict[str, Any]) -> None:
    parent = tiny_videomae(**changes)
    config = {**TINY_VIDEOMAE, **changes}
    height, width = changes.get("image_size", (24, 24))
    video = torch.randn(2, config["num_frames"] + 2, 3, height, width)
    windows = video[:, :-2], video[:, 2:]
    for settings, tolerance in (({"mode": "off"}, 0), ({"threshold": 0}, 1e-5)):
        model = TemporalReuseVideoMAEForVideoClassification(
            TemporalReuseVideoMAEConfig(**config, temporal_reuse=settings)
        ).eval()
        model.load_state_dict(parent.state_dict())
        cache = None
        for window in windows:
            output = model(window, past_key_values=cache, stride=None if tolerance == 0 else 2)
            cache = output.past_key_values
            assert_near(output.logits, parent(window).logits, tolerance)


@torch.no_grad()
def test_masked_positions_take_the_parents_path() -> None:
    case = videomae_case("masked", "bidirectional", {})
    model, parent, clip = case.model(base=True), case.parent(base=True), case.clip()
    mask = torch.zeros(2, 144, dtype=torch.bool)
    mask[0, :50] = mask[1, 20:70] = True
    output = model(clip, bool_masked_pos=mask)
    assert_same(output.last_hidden_state, parent(clip, bool_masked_pos=mask).last_hidden_state)
    assert output.past_key_values is None
    cache = model(clip).past_key_values
    with pytest.raises(ValueError, match="^past_key_values cannot be used with bool_masked_pos; leave it out.$"):
        model(clip, bool_masked_pos=mask, past_key_values=cache)


@torch.no_grad()
def test_a_model_without_labels_gives_the_normed_mean() -> None:
    config = TemporalReuseVideoMAEConfig(**{**TINY_VIDEOMAE, "num_labels": 0}, temporal_reuse={"threshold": 0})
    model = TemporalReuseVideoMAEForVideoClassification(config).eval()
    parent = tiny_videomae(num_labels=0)
    model.load_state_dict(parent.state_dict())
    clip = torch.randn(2, 8, 3, 24, 24)
    assert_near(model(clip).logits, parent(clip).logits, 1e-5)


@torch.no_grad()
def test_a_projection_with_hooks_is_called() -> None:
    projection = torch.nn.Conv3d(3, 8, (2, 4, 4), stride=(2, 4, 4))
    frames = torch.randn(2, 4, 3, 8, 12)
    expected = embed_tubelets(projection, frames)
    assert expected.shape == (2, 2, 6, 8)
    calls = []
    projection.register_forward_pre_hook(lambda module, inputs: calls.append(module))
    assert_near(embed_tubelets(projection, frames), expected, 1e-5)
    assert calls == [projection]

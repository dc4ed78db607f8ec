from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseVivitForVideoClassification, TemporalReuseVivitModel

from ..tiny import TINY_VIVIT
from .cases import WindowCase, assert_near, assert_same, run_pieces
from .modeling_invariants import ClassifierInvariants, WindowReuseInvariants


def vivit_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> WindowCase:
    return WindowCase(
        name=name,
        classifier=TemporalReuseVivitForVideoClassification,
        base=TemporalReuseVivitModel,
        config={**TINY_VIVIT, **options.pop("config", {})},
        prefix=1,
        reads=1,
        settings={"mode": mode, "context_weight": 0.1, "context_size": 3, **settings},
        **options,
    )


CASES = [
    vivit_case("start", "causal", {}),
    vivit_case("budget", "bidirectional", {"compute_budget": 0.4}, dtype=torch.bfloat16),
    vivit_case("tome", "bidirectional", {"reduction": {"method": "tome", "r": 12}}),
]


@pytest.fixture(params=CASES[::2], ids=str)
def case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=CASES[:1], ids=str)
def some_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


@pytest.fixture(params=CASES[:2], ids=str)
def plain_case(request: pytest.FixtureRequest) -> WindowCase:
    return request.param


class TestTemporalReuseVivit(WindowReuseInvariants, ClassifierInvariants):
    """The invariants of all models that see a window at once."""

    @pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
    def test_an_unknown_keyword_is_refused(self, some_case: WindowCase, base: bool) -> None:
        with pytest.raises(TypeError, match="has no use for 'banana'; leave it out.$"):
            some_case.model(base)(some_case.clip(), banana=1)


@pytest.mark.parametrize("options", [{"interpolate_pos_encoding": True}, {"attention_mask": None}], ids=str)
@torch.no_grad()
def test_what_the_parent_takes_runs_its_own_code(options: dict[str, Any]) -> None:
    case = CASES[0]
    model, parent, clip = case.model(base=True), case.parent(base=True), case.clip()
    if "attention_mask" in options:
        options = {"attention_mask": (torch.arange(145) < 100).repeat(2, 1)}
    assert_same(model(clip, **options).last_hidden_state, parent(clip, **options).last_hidden_state)
    cache = model(clip, interpolate_pos_encoding=False).past_key_values
    with pytest.raises(
        ValueError, match=f"^past_key_values cannot be used with {next(iter(options))}; leave it out.$"
    ):
        model(clip, past_key_values=cache, **options)


@torch.no_grad()
def test_the_token_in_front_is_computed_in_every_window_and_sees_what_is_there() -> None:
    # One layer: what is held has no context, so that the token in front is exactly that of the parent.
    case = vivit_case("one-layer", "causal", {"threshold": 1e-3, "window_weight": 0}, config={"num_hidden_layers": 1})
    model, parent, (first, second) = case.model(), case.parent(), case.windows(2)
    second[:, 2:] = first[:, 2:]
    outputs, _ = run_pieces(model, [first, first, second])
    for output, window in zip(outputs, [first, first, second]):
        assert_near(output.logits, parent(window).logits, 1e-5)
    assert outputs[1].reuse.computed_tokens.tolist() == [1, 1]
    assert (outputs[2].reuse.computed_tokens <= 37).all()


@torch.no_grad()
def test_a_head_that_reads_one_token_saves_the_outputs_of_the_others() -> None:
    case = vivit_case("start", "causal", {"threshold": 0})
    reuse = case.model()(case.clip()).reuse
    (saved,) = set((reuse.dense_multiply_adds - reuse.multiply_adds).tolist())
    cost = case.model().video_encoder.parts.cost(case.model().video_encoder, 36)
    assert saved == 144 * cost.row + 144 * 145 * cost.pair


@torch.no_grad()
def test_maps_are_of_the_slots() -> None:
    for settings in ({}, {"reduction": {"method": "tome", "r": 12}}):
        case = vivit_case("maps", "causal", settings)
        model, cache = case.model(), None
        for window in case.windows(2):
            output = model(window, past_key_values=cache, output_token_maps=True, output_reuse_plan=True)
            cache, maps = output.past_key_values, output.reuse.maps
            assert torch.equal(maps.computed, output.reuse.plan)
            assert maps.groups.shape == (2, 4, 36, 3)
            assert not maps.error[maps.computed].any()
            own = torch.arange(144).view(4, 36).expand(2, 4, 36)
            assert torch.equal(maps.groups[..., 0][maps.computed], own[maps.computed])

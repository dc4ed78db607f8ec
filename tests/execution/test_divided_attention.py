"""Sets of the slots of a window, which attend as frames do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import TimesformerConfig, TimesformerModel
from transformers.models.vit.modeling_vit import eager_attention_forward

from hf_ttr.execution import packed
from hf_ttr.execution.divided_attention import SlotSets, computed_rows
from hf_ttr.execution.kernels.frame_links import FrameLinks
from hf_ttr.execution.kernels.interpolated_attention import reference_interpolated_attention
from hf_ttr.models.timesformer.modeling_temporal_reuse_timesformer import TimesformerParts
from hf_ttr.planning.window_plan import WindowPlan

from ..models.cases import assert_near
from ..tiny import TINY_TIMESFORMER


class Module(torch.nn.Module):
    """What stands for an attention module."""

    attention = eager_attention = staticmethod(eager_attention_forward)

    class config:
        _attn_implementation = "eager"


# Three times of two positions; of the second stream's second position all is interpolated between two.
SOURCES = torch.tensor([[[0, 0], [0, 1], [0, 1]], [[0, 0], [1, 0], [2, 2]]])


def window_plan(dense: bool = False) -> WindowPlan:
    sources = torch.arange(3)[:, None].expand(2, 3, 2) if dense else SOURCES
    return WindowPlan.build(sources, interpolate=True, prefix=1)


def test_rows_are_numbered_as_they_are_computed() -> None:
    front, slots = computed_rows(window_plan())
    assert front.tolist() == [[0], [4]]
    assert slots[window_plan().computed].tolist() == [1, 2, 3, 5, 6, 7, 8, 9]


def test_sets_over_time_leave_out_what_is_in_front() -> None:
    sets = SlotSets.over_time(window_plan())
    assert sets.asking.tolist() == [1, 2, 3, 5, 7, 8, 6, 9]
    assert sets.call.counts == [1, 2, 3, 2] and not len(sets.front_rows)


def test_sets_within_times_have_what_is_in_front() -> None:
    sets = SlotSets.within_times(window_plan())
    assert sets.asking.tolist() == [0, 1, 2, 0, 3, 0, 4, 5, 6, 4, 7, 4, 8, 9]
    assert sets.front_rows.tolist() == [0, 4]
    assert sets.asking[sets.front_queries].tolist() == [[0, 0, 0], [4, 4, 4]]
    few = SlotSets.within_times(window_plan(), outputs=1)
    assert few.asking.tolist() == [0, 0, 0, 4, 4, 4] and few.call.counts != [1] * 6


@pytest.mark.parametrize("dense", [False, True], ids=["some", "all"])
def test_a_row_gets_what_its_slot_sees(dense: bool) -> None:
    plan = window_plan(dense)
    rows = len(plan.rows)
    query, keys, values = torch.randn(3, rows, 2, 4).unbind()
    over_time, within, few = SlotSets.over_time(plan), SlotSets.within_times(plan), SlotSets.within_times(plan, 1)
    timed, seen, front = (sets.attend(Module(), query, keys, values, 0.5)[0] for sets in (over_time, within, few))
    numbers, slots = computed_rows(plan)
    left, right = plan.live_slots

    def of_slots(states: torch.Tensor) -> torch.Tensor:
        return torch.lerp(states[left], states[right], plan.alpha[..., None, None])

    def ask(row: int, own_keys: torch.Tensor, own_values: torch.Tensor) -> torch.Tensor:
        weights = (torch.einsum("hd,khd->hk", query[row], own_keys) * 0.5).softmax(-1)
        return torch.einsum("hk,khd->hd", weights, own_values)

    for stream in range(2):
        first = int(numbers[stream, 0])
        members = [
            [torch.cat([states[first, None], of_slots(states)[stream, time]]) for states in (keys, values)]
            for time in range(3)
        ]
        mean = torch.stack([ask(first, *own) for own in members]).mean(0)
        assert_near(seen[first], mean, 1e-5)
        assert_near(front[stream], mean, 1e-5)
        assert not timed[first].any()
        for time, position in plan.computed[stream].nonzero().tolist():
            row = int(slots[stream, time, position])
            assert_near(seen[row], ask(row, *members[time]), 1e-5)
            column = [of_slots(states)[stream, :, position] for states in (keys, values)]
            assert_near(timed[row], ask(row, *column), 1e-5)


@pytest.mark.parametrize("outputs", [None, 1])
def test_a_kernel_is_given_the_same_sets(monkeypatch: pytest.MonkeyPatch, outputs: int | None) -> None:
    plan = window_plan()
    query, keys, values = torch.randn(3, len(plan.rows), 2, 4).unbind()
    for sets in (SlotSets.over_time(plan), SlotSets.within_times(plan, outputs)):
        expected, _ = sets.attend(Module(), query, keys, values, 0.5)
        asking = len(sets.asking)
        queries = sets.call.counts if sets.call.outputs is None else [outputs] * len(sets.call.counts)
        sets.call.links = FrameLinks.of(sets.call.plan, queries)
        monkeypatch.setattr(packed, "kernel_unavailable_reason", lambda *_: None)
        monkeypatch.setattr(packed, "interpolated_attention", reference_interpolated_attention)
        monkeypatch.setattr(Module.config, "_attn_implementation", "sdpa")
        assert_near(sets.attend(Module(), query, keys, values, 0.5)[0], expected, 1e-5)
        assert sets.call.ran_kernel
        members = sets.call.plan.shape[2]
        assert sum(map(sets.call.pairs, range(2))) == asking * members
        monkeypatch.undo()


@pytest.mark.parametrize("changes", [{}, {"num_frames": 3, "image_size": 16, "qkv_bias": False}], ids=str)
@torch.no_grad()
def test_a_dense_timesformer_costs_what_a_profiler_counts(changes: dict[str, Any]) -> None:
    config = TimesformerConfig(**{**TINY_TIMESFORMER, **changes})
    model, positions = TimesformerModel(config).eval(), (config.image_size // config.patch_size) ** 2
    with FlopCounterMode(display=False) as counted:
        model(torch.randn(2, config.num_frames, 3, config.image_size, config.image_size))
    cost: Any = TimesformerParts().cost(model, positions)
    assert cost.window(config.num_frames, positions, prefix=1) * 2 * 2 == counted.get_total_flops()

"""Plans of one model carried out by another, and the matching of settings."""

from __future__ import annotations

import pytest
import torch

import hf_ttr
from benchmarks.memory import peak_bytes, reset_peak
from benchmarks.replay import recorded_plans, replayed, replayed_plans, sparsest_under
from benchmarks.timing import compare_times
from hf_ttr.planning.planner import Planner
from tests.tiny import make_clip, tiny_parent


@pytest.mark.parametrize("mode", ["bidirectional", "causal"])
@torch.no_grad()
def test_a_replayed_plan_computes_what_the_recorded_one_did(mode: str) -> None:
    small, large = tiny_parent(), tiny_parent(seed=1, hidden_size=64)
    settings = hf_ttr.TemporalReuseConfig(mode=mode, threshold=0.3)
    clip = make_clip(batch=1)
    with recorded_plans() as plans:
        first = hf_ttr.with_temporal_reuse(small, settings)(clip, output_reuse_plan=True).reuse
    other = hf_ttr.with_temporal_reuse(large, hf_ttr.TemporalReuseConfig(mode=mode, threshold=0.01))
    with replayed_plans(plans):
        runs = [other(clip, output_reuse_plan=True).reuse for _ in range(2)]
    assert not bool(first.plan.all())
    for run in runs:
        assert torch.equal(run.plan, first.plan)
    assert not torch.equal(other(clip, output_reuse_plan=True).reuse.plan, first.plan)
    assert Planner.plan.__module__ == "hf_ttr.planning.planner"


def test_the_sparsest_threshold_under_the_limit_is_taken() -> None:
    assert sparsest_under(0.5, (0.1, 0.4, 0.2, 0.8), lambda threshold: 2 * threshold) == (0.2, 0.4)
    assert sparsest_under(0.1, (0.1, 0.4), lambda threshold: 2 * threshold) == (0.1, 0.2)


def test_replay_reports_fidelity_and_ratios() -> None:
    found = replayed(tiny_parent(), tiny_parent(seed=1), make_clip(batch=1), "bidirectional", rounds=1)
    assert found["threshold"] > 0 and found["multiply_add_ratio"] > 0 and found["realised"] > 0


def test_what_is_prepared_is_not_timed() -> None:
    events: list[str] = []
    found = compare_times(
        lambda: events.append("dense"), lambda given: events.append(given), 2, prepare=lambda: "prepared"
    )
    assert events == ["dense", "prepared"] * 3
    assert set(found) == {"dense_seconds", "reuse_seconds", "wall_clock_ratio"}


def test_the_peak_sees_an_allocation() -> None:
    before = reset_peak()
    block = torch.ones(2**24)  # 64 MiB
    assert peak_bytes() - before > 2**25 and block.numel() == 2**24

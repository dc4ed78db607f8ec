from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.caching.cache import StreamState
from hf_ttr.planning import planner as planner_module
from hf_ttr.planning.plan import NEVER, ReusePlan
from hf_ttr.planning.planner import NOTHING_SPENT, Planner


GRID = (2, 3)
PATCHES, DIM = 6, 4


def planner(mode: str = "causal", compute_all: bool = False, **settings: Any) -> Planner:
    return Planner(TemporalReuseConfig(mode=mode, **settings), GRID, compute_all=compute_all)


def patches(batch: int, frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, frames, PATCHES, DIM, generator=torch.Generator().manual_seed(seed))


def state(batch: int, frame: torch.Tensor, age: int = 1) -> StreamState:
    """Streams whose last frame was computed `age` frames ago."""
    return StreamState(
        reference=frame,
        age=torch.full((batch, PATCHES + 1), age),
        saliency=torch.full((batch, PATCHES), torch.nan),
        debt=torch.zeros(batch, PATCHES),
    )


def test_fresh_streams() -> None:
    streams = state(3, patches(3, 1)[:, 0])
    streams.age[1] = NEVER
    streams.age[2, 3] = NEVER
    assert planner().is_fresh(None) is None
    assert planner().is_fresh(streams).tolist() == [False, True, False]


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_the_first_frame_is_computed_whole_and_alone_where_saliency_counts(mode: str) -> None:
    plan = planner(mode).plan(patches(2, 5), None)
    assert plan.shape == (2, 1, PATCHES + 1)
    assert plan.is_dense
    assert plan.record_saliency
    assert plan.planning_multiply_adds == 0


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_without_a_token_in_front_nothing_shows_what_the_model_looks_at(mode: str) -> None:
    own = Planner(TemporalReuseConfig(mode=mode, saliency_weight=0.5), GRID, prefix_tokens=0)
    plan = own.plan(patches(2, 5), None)
    assert plan.shape == (2, 5, PATCHES)
    assert not plan.record_saliency
    assert not own.plan(patches(2, 1), None).record_saliency


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_without_saliency_all_frames_are_planned_at_once(mode: str) -> None:
    plan = planner(mode, saliency_weight=0).plan(patches(2, 5), None)
    assert plan.shape == (2, 5, PATCHES + 1)
    assert plan.computed[:, 0].all()
    assert not plan.has_past
    assert not plan.record_saliency


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_the_first_frame_is_alone_where_rows_merge_across_frames_whatever_the_saliency(mode: str) -> None:
    plan = replace(planner(mode, saliency_weight=0), merges_frames=True).plan(patches(2, 5), None)
    assert plan.shape == (2, 1, PATCHES + 1)
    assert not plan.record_saliency


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_without_a_token_in_front_saliency_counts_for_nothing(mode: str) -> None:
    plans = [
        replace(planner(mode, saliency_weight=weight), prefix_tokens=0).plan(patches(2, 5), None)
        for weight in (0.5, 0)
    ]
    assert plans[0].shape == (2, 5, PATCHES)
    assert torch.equal(plans[0].computed, plans[1].computed)
    assert not plans[0].record_saliency


def test_a_budget_is_that_of_what_is_left_of_the_call() -> None:
    still, moving = patches(1, 1), patches(1, 8, seed=1)
    maker, streams = planner("bidirectional", compute_budget=0.5, scene_cut=1), state(1, still[:, 0])
    first = maker.plan(still, None)
    spent = NOTHING_SPENT.after(first)
    assert (spent.frames, spent.tokens.tolist()) == (1, [PATCHES + 1])
    after, anew = (maker.plan(moving, streams, so_far).computed.sum() for so_far in (spent, NOTHING_SPENT))
    assert after + PATCHES + 1 <= 0.5 * 9 * (PATCHES + 1)
    assert after < anew <= 0.5 * 8 * (PATCHES + 1)
    # A planner itself remembers nothing.
    assert torch.equal(maker.plan(moving, streams).computed.sum(), anew)


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@pytest.mark.parametrize(
    ("settings", "compute_all"), [({"threshold": 0}, False), ({"compute_budget": 1}, False), ({}, True)], ids=str
)
def test_everything(mode: str, settings: dict[str, Any], compute_all: bool) -> None:
    frames = patches(2, 3)
    for streams in (None, state(2, frames[:, 0])):
        plan = planner(mode, compute_all=compute_all, **settings).plan(frames, streams)
        assert plan.shape == (2, 3, PATCHES + 1)
        assert plan.is_dense
        assert not plan.has_past


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_the_cls_token_is_always_computed_and_a_still_picture_never(mode: str) -> None:
    still = patches(2, 1)
    plan = planner(mode).plan(still.repeat(1, 6, 1, 1), state(2, still[:, 0]))
    assert plan.shape[1] == 6
    assert plan.has_past
    assert plan.computed[:, :, 0].all()
    assert not plan.computed[:, :, 1:].any()


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
def test_errors_are_relative_to_the_norm_of_the_embeddings(mode: str) -> None:
    first = patches(2, 1)
    changes = patches(2, 4, seed=1).cumsum(1) * 0.3
    plans = [
        planner(mode, threshold=0.6).plan(factor * (first + changes), state(2, factor * first[:, 0]))
        for factor in (1.0, 64.0)
    ]
    assert 0 < plans[0].computed[..., 1:].float().mean() < 1
    assert torch.equal(plans[0].computed, plans[1].computed)


@pytest.mark.parametrize("mode", ["causal", "bidirectional"])
@pytest.mark.parametrize("prefix", [0, 1])
def test_behind_a_cut_a_stream_is_planned_like_a_new_one(mode: str, prefix: int) -> None:
    before, first = patches(1, 1), 20 * patches(1, 1, seed=5)
    scene = torch.cat([first, first + (patches(1, 7, seed=6).cumsum(1) * 6)], dim=1)
    maker = replace(planner(mode, threshold=0.6, scene_cut=0.9), prefix_tokens=prefix)

    def run(frames: torch.Tensor, pieces: list[int]) -> list[torch.Tensor]:
        streams, computed = None, []
        for piece in frames.split(pieces, dim=1):
            while piece.shape[1]:
                plan = maker.plan(piece, streams)
                own, piece = piece.split([plan.shape[1], piece.shape[1] - plan.shape[1]], dim=1)
                streams = maker.remember(plan, own, streams)
                computed += plan.computed.unbind(1)
        return computed

    new = run(scene, [1, 7])
    assert new[0].all()
    assert 0 < torch.stack(new[1:])[..., prefix:].float().mean() < 1
    assert torch.equal(torch.stack(run(torch.cat([before, scene], dim=1), [1, 1, 7])[1:]), torch.stack(new))
    if mode == "causal":
        for pieces in ([9], [2, 7], [4, 5]):
            assert torch.equal(torch.stack(run(torch.cat([before, scene], dim=1), pieces)[1:]), torch.stack(new))


def test_norms_of_frames_leave_positions_out() -> None:
    positions, frames = 7 * torch.ones(1, PATCHES, DIM), patches(2, 3, seed=4)
    maker = replace(planner(), positions=positions)
    torch.testing.assert_close(maker.mean_norms(frames + positions), frames.norm(dim=-1).mean(-1))
    # Positions count for as little in what is chosen.
    held, moved = patches(2, 1)[:, 0], patches(2, 1) + 0.3 * frames.cumsum(1)
    for mode in ("causal", "bidirectional"):
        maker = planner(mode, threshold=0.6)
        plan = maker.plan(moved, state(2, held))
        other = replace(maker, positions=positions).plan(moved + positions, state(2, held + positions))
        assert 0 < plan.computed[..., 1:].float().mean() < 1
        assert torch.equal(plan.computed, other.computed)


def test_positions_with_more_attention_are_computed_sooner() -> None:
    first = patches(1, 1)
    streams = state(1, first[:, 0])
    streams.saliency = torch.tensor([[0.01, 0.01, 0.01, 0.36, 0.01, 0.01]])
    # Every position changes by half the mean norm; weights are 3.3 where the attention is, 0.5 elsewhere.
    changed = first + 0.5 * first.norm(dim=-1).mean() * torch.tensor([1.0, 0.0, 0.0, 0.0])
    computed = {
        weight: planner(threshold=1.0, saliency_weight=weight, context_weight=0)
        .plan(changed, streams)
        .computed[0, 0, 1:]
        for weight in (0, 0.5)
    }
    assert computed[0.5].tolist() == [False, False, False, True, False, False]
    assert not computed[0].any()


def test_a_clip_is_interpolated_by_content_and_a_stream_held() -> None:
    first = patches(1, 1)
    clip = first + patches(1, 12, seed=1).cumsum(1) * 0.3
    plan = planner("bidirectional", threshold=0.8, scene_cut=1).plan(clip, state(1, first[:, 0]))
    reused = ~plan.computed & (plan.left != plan.right)
    by_time = ReusePlan.build(plan.computed, state(1, first[:, 0]).age, interpolate=True).alpha
    assert reused.any()
    assert (plan.alpha[reused] - by_time[reused]).abs().max() > 0.2
    assert (plan.alpha[~reused] == 0).all()
    assert not planner("causal").plan(clip, state(1, first[:, 0])).alpha.any()


def test_a_stream_remembers_what_its_errors_added_up_to() -> None:
    still = patches(1, 1)
    streams = state(1, still[:, 0])
    moved = still.repeat(1, 6, 1, 1)
    moved[..., 2, 0] += 0.1 * still.norm(dim=-1).mean()
    maker = planner(threshold=0.1 * 3.5**0.5, context_weight=0)
    times = []
    for frame in moved.split(1, dim=1):
        plan = maker.plan(frame, streams)
        times.append(plan.computed[0, 0, 3].item())
        streams = maker.remember(plan, frame, streams)
        assert (streams.debt[0, [0, 1, 3, 4, 5]] == 0).all()
    assert times == [False, False, False, True, False, False]


def test_long_clips_are_planned_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner_module, "MAX_FRAMES", 4)
    still = patches(1, 1)
    for mode in ("causal", "bidirectional"):
        assert planner(mode).plan(still.repeat(1, 9, 1, 1), state(1, still[:, 0])).shape[1] == 4


class TestRemember:
    def test_a_new_stream(self) -> None:
        frames = patches(2, 3)
        computed = torch.ones(2, 3, PATCHES + 1, dtype=torch.bool)
        computed[:, 1:, 2] = False
        computed[1, 2, 5] = False
        plan = ReusePlan.build(computed)
        remembered = planner().remember(plan, frames, None)
        expected = frames[:, 2].clone()
        expected[:, 1] = frames[:, 0, 1]
        expected[1, 4] = frames[1, 1, 4]
        assert torch.equal(remembered.reference, expected)
        assert torch.equal(remembered.age, plan.age)
        assert remembered.saliency.isnan().all()

    def test_a_stream_that_goes_on(self) -> None:
        frames, past = patches(2, 2), patches(2, 1, seed=5)[:, 0]
        streams = state(2, past)
        streams.saliency = torch.rand(2, PATCHES)
        computed = torch.zeros(2, 2, PATCHES + 1, dtype=torch.bool)
        computed[:, :, 0] = True
        computed[0, 0, 1] = computed[1, 1, 6] = True
        plan = ReusePlan.build(computed, streams.age)
        remembered = planner().remember(plan, frames, streams)
        expected = past.clone()
        expected[0, 0] = frames[0, 0, 0]
        expected[1, 5] = frames[1, 1, 5]
        assert torch.equal(remembered.reference, expected)
        assert remembered.age.tolist() == [[1, 2, 3, 3, 3, 3, 3], [1, 3, 3, 3, 3, 3, 1]]
        assert torch.equal(remembered.saliency, streams.saliency)

    def test_observed_attention_replaces_that_of_the_observed_streams(self) -> None:
        frames = patches(3, 1)
        streams = state(3, frames[:, 0])
        streams.saliency = torch.zeros(3, PATCHES)
        plan = ReusePlan.build(torch.ones(3, 1, PATCHES + 1, dtype=torch.bool))
        attention = torch.rand(2, PATCHES + 1)
        remembered = planner().remember(plan, frames, streams, torch.tensor([2, 0]), attention)
        assert torch.equal(remembered.saliency[[2, 0]], attention[:, 1:])
        assert not remembered.saliency[1].any()


@pytest.mark.parametrize("compute_budget", [None, 0.3], ids=["threshold", "budget"])
@pytest.mark.parametrize("saliency_weight", [0, 0.5], ids=["all-at-once", "first-frame-alone"])
def test_a_clip_is_planned_without_reading_from_the_device(
    compute_budget: float | None, saliency_weight: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner_module, "MAX_FRAMES", 6)
    # From this device nothing can be read.
    clip = patches(2, 13).to("meta")
    threshold = 0.3 if compute_budget is None else None
    settings = {"compute_budget": compute_budget, "threshold": threshold, "saliency_weight": saliency_weight}
    own, streams, spent = planner("bidirectional", **settings), None, NOTHING_SPENT
    while spent.frames < clip.shape[1]:
        plan = own.plan(clip[:, spent.frames :], streams, spent)
        streams = own.remember(plan, clip[:, spent.frames : spent.frames + plan.shape[1]], streams)
        spent = spent.after(plan)
    assert spent.frames == 13 and streams is not None
    assert all(tensor.is_meta for tensor in streams.tensors())
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        _ = plan.row_counts


def test_nothing_is_read_of_a_plan_that_computes_everything() -> None:
    plan = planner("bidirectional").plan(patches(2, 3).to("meta"), None)
    assert plan.row_counts == [PATCHES + 1] * 2
    assert plan.is_dense and plan.is_hold

"""What holds for every plan of frames, whatever the settings and the content."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning.bidirectional import choose_corners
from hf_ttr.planning.importance import spread_over_neighbours
from hf_ttr.planning.plan import NEVER, ReusePlan
from hf_ttr.planning.planner import NOTHING_SPENT, Planner
from hf_ttr.planning.stream_state import StreamState

from .content import KINDS, SEEDS, SIZES, embeddings, few, reuse_settings


GRID, PATCHES, DIM = (2, 3), 6, 4
TOKENS = 1 + PATCHES
MODES = st.sampled_from(["bidirectional", "causal"])
BATCHES = st.integers(1, 3)
FRAMES = st.integers(1, 8)
PIECES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


@dataclass
class Run:
    """
    What became of the frames of some calls.

    Attributes:
        computed (`torch.BoolTensor` of shape `(batch, frames, tokens)`), alpha.
        plans: with the number of their first frame.
        state: of the streams after the last frame.
    """

    computed: torch.Tensor
    alpha: torch.Tensor
    plans: list[tuple[int, ReusePlan]]
    state: StreamState


def run(settings: dict[str, Any], patches: torch.Tensor, pieces: list[int], seed: int = 0, **options: Any) -> Run:
    """Plans frames call by call, with the attention of whole frames that follows from the patches themselves."""
    plans, state, start = [], None, 0
    for frames in pieces:
        planner, stop = Planner(TemporalReuseConfig(**settings), GRID, **options), start + frames
        spent = NOTHING_SPENT
        while start < stop:
            plan = planner.plan(patches[:, start:stop], state, spent)
            spent = spent.after(plan)
            seen = patches[:, start : start + plan.shape[1]]
            whole = plan.computed.all(-1)
            last = plan.shape[1] - 1 - whole.flip(1).int().argmax(1)
            observed = whole.any(1).nonzero().squeeze(-1)
            attention = torch.nn.functional.pad(seen[observed, last[observed]].norm(dim=-1) + 1e-3, (1, 0))
            plans.append((start, plan))
            state = planner.remember(plan, seen, state, observed, attention)
            start += plan.shape[1]
    return Run(
        torch.cat([plan.computed for _, plan in plans], dim=1),
        torch.cat([plan.alpha for _, plan in plans], dim=1),
        plans,
        state,
    )


def clips(kind: str, seed: int, batch: int, pieces: list[int], size: float = 1.0) -> torch.Tensor:
    return embeddings(kind, seed, (batch, sum(pieces), PATCHES, DIM), size)


ANY = {
    "mode": MODES,
    "settings": reuse_settings(),
    "kind": st.sampled_from(KINDS),
    "size": SIZES,
    "seed": SEEDS,
    "batch": BATCHES,
    "pieces": PIECES,
}


@few(2)
@given(**ANY)
def test_cls_tokens_and_the_first_frame_are_computed(
    mode: str, settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    computed = run({"mode": mode, **settings}, clips(kind, seed, batch, pieces, size), pieces).computed
    assert computed.shape == (batch, sum(pieces), TOKENS)
    assert computed[:, 0].all()
    assert computed[:, :, 0].all()


@few(2)
@given(**ANY)
def test_no_token_gets_older_than_max_age(
    mode: str, settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    # In a stream a budget comes before the age.
    assume(settings["max_age"] is not None and not (mode == "causal" and "compute_budget" in settings))
    computed = run({"mode": mode, **settings}, clips(kind, seed, batch, pieces, size), pieces).computed
    age = torch.zeros(batch, TOKENS, dtype=torch.long)
    for frame in range(sum(pieces)):
        age = torch.where(computed[:, frame], 0, age + 1)
        assert (age < settings["max_age"]).all()


@few(2)
@given(**ANY)
def test_links_lead_to_the_computed_tokens_around(
    mode: str, settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    planned = run({"mode": mode, **settings}, clips(kind, seed, batch, pieces, size), pieces)
    last = torch.full((batch, TOKENS), -1)  # the frame in which each position was computed last
    for start, plan in planned.plans:
        stream, frame, position = plan.computed.nonzero().T
        table_frame, table_place = frame + start, stream * TOKENS + position
        if plan.has_past:
            table_frame = torch.cat([last.flatten(), table_frame])
            table_place = torch.cat([torch.arange(batch * TOKENS), table_place])
        place = torch.arange(batch * TOKENS).view(batch, 1, TOKENS).expand(plan.shape)
        time = start + torch.arange(plan.shape[1]).view(1, -1, 1).expand(plan.shape)
        assert torch.equal(table_place[plan.left], place)
        assert torch.equal(table_place[plan.right], place)
        own = torch.where(plan.computed, time, -1)
        left = torch.cat([last[:, None], own], dim=1).cummax(1).values[:, 1:]
        assert torch.equal(table_frame[plan.left], left)
        following = torch.where(plan.computed, time, NEVER).flip(1).cummin(1).values.flip(1)
        right = torch.where(following < NEVER, following, left) if mode == "bidirectional" else left
        if not plan.is_dense:
            assert torch.equal(table_frame[plan.right], right)
        assert ((plan.alpha >= 0) & (plan.alpha <= 1)).all()
        assert not plan.alpha[left == table_frame[plan.right]].any()
        last = left[:, -1]
        assert torch.equal(plan.age, start + plan.shape[1] - last)


@few(2)
@given(**ANY)
def test_a_scene_cut_is_computed_whole(
    mode: str, settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    # In a stream small errors that add up are no cut.
    assume(mode == "bidirectional")
    computed = run({"mode": mode, **settings}, clips(kind, seed, batch, pieces, size), pieces).computed
    share = computed[..., 1:].float().mean(-1)
    assert ((share <= settings["scene_cut"]) | (share == 1)).all()


@few(2)
@given(**ANY)
def test_streams_are_planned_in_a_batch_as_alone(
    mode: str, settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    assume(batch > 1)
    patches = clips(kind, seed, batch, pieces, size)
    for stream in range(batch):
        # Planning in a stream may pause behind the whole frame of any of them, which changes nothing but where.
        together = run({"mode": mode, **settings}, patches, pieces)
        alone = run({"mode": mode, **settings}, patches[stream : stream + 1], pieces)
        assert torch.equal(alone.computed[0], together.computed[stream])
        assert torch.allclose(alone.alpha[0], together.alpha[stream], atol=1e-4)
        for mine, theirs in zip(alone.state.tensors(), together.state.tensors()):
            torch.testing.assert_close(mine[0], theirs[stream], equal_nan=True)


@few(2)
@given(**ANY)
def test_a_stream_in_pieces_is_planned_as_at_once(
    mode: str, settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    patches = clips(kind, seed, batch, pieces, size)
    settings = {**settings, "mode": "causal"}
    at_once, in_pieces = run(settings, patches, [sum(pieces)]), run(settings, patches, pieces)
    assert torch.equal(at_once.computed, in_pieces.computed)
    for mine, theirs in zip(at_once.state.tensors(), in_pieces.state.tensors()):
        assert torch.equal(mine.nan_to_num(), theirs.nan_to_num())


@few(1)
@given(
    mode=MODES,
    settings=reuse_settings(max_age=None),
    seed=SEEDS,
    batch=BATCHES,
    pieces=PIECES,
    size=SIZES,
    max_age=st.sampled_from([None, 4]),
)
def test_still_frames_compute_nothing_but_what_is_too_old(
    mode: str,
    settings: dict[str, Any],
    seed: int,
    batch: int,
    pieces: list[int],
    size: float,
    max_age: int | None,
) -> None:
    assume(max_age is None or mode == "causal" or "compute_budget" not in settings)
    patches = clips("still", seed, batch, pieces, size)
    computed = run({"mode": mode, **settings, "max_age": max_age}, patches, pieces).computed[..., 1:]
    assert computed[:, 0].all()
    if max_age is None:
        assert not computed[:, 1:].any()
    elif "compute_budget" not in settings:
        assert (computed[:, 1:].sum(1) <= (sum(pieces) - 1) // (1 if mode == "bidirectional" else max_age)).all()


@few(1)
@given(
    mode=MODES,
    settings=reuse_settings(),
    everything=st.sampled_from([{"threshold": 0, "compute_budget": None}, {"threshold": None, "compute_budget": 1}]),
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    batch=BATCHES,
    pieces=PIECES,
)
def test_threshold_0_and_a_budget_of_1_compute_everything(
    mode: str,
    settings: dict[str, Any],
    everything: dict[str, Any],
    kind: str,
    seed: int,
    batch: int,
    pieces: list[int],
) -> None:
    patches = clips(kind, seed, batch, pieces)
    assert run({"mode": mode, **settings, **everything}, patches, pieces).computed.all()


@few(2)
@given(
    settings=reuse_settings(max_age=None, scene_cut=1),
    budget=st.floats(0.01, 0.99),
    threshold=st.sampled_from([None, 0.3]),
    kind=st.sampled_from([kind for kind in KINDS if kind != "zero"]),
    seed=SEEDS,
    batch=BATCHES,
    frames=FRAMES,
)
def test_a_clip_meets_its_budget(
    settings: dict[str, Any], budget: float, threshold: float | None, kind: str, seed: int, batch: int, frames: int
) -> None:
    settings = {**settings, "mode": "bidirectional", "compute_budget": budget, "threshold": threshold}
    computed = run(settings, clips(kind, seed, batch, [frames]), [frames]).computed
    least = PATCHES + frames
    for count in computed.sum((1, 2)).tolist():
        assert count <= max(budget * frames * TOKENS + 1e-3, least)


@few(2)
@given(
    settings=reuse_settings(),
    budget=st.floats(0.01, 0.99),
    threshold=st.sampled_from([None, 0.3]),
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    batch=BATCHES,
    pieces=PIECES,
)
def test_each_frame_of_a_stream_meets_its_budget(
    settings: dict[str, Any],
    budget: float,
    threshold: float | None,
    kind: str,
    seed: int,
    batch: int,
    pieces: list[int],
) -> None:
    settings = {**settings, "mode": "causal", "compute_budget": budget, "threshold": threshold}
    counts = run(settings, clips(kind, seed, batch, pieces), pieces).computed.sum(-1)
    # What is new or a scene cut is computed whole.
    assert ((counts <= max(budget * TOKENS + 1e-3, 1)) | (counts == TOKENS)).all()


def weighted(errors: torch.Tensor, weights: torch.Tensor, config: TemporalReuseConfig) -> torch.Tensor:
    """Squared errors `(patches, ...)` with those around added, times the weights of a stream."""
    spread = spread_over_neighbours(errors[None], GRID, config.context_weight, config.context_size)[0]
    return spread * weights.double().square().view(-1, *[1] * (errors.dim() - 1))


@few(2)
@given(
    settings=reuse_settings(saliency_weight=0, scene_cut=1),
    kind=st.sampled_from(KINDS),
    size=SIZES,
    seed=SEEDS,
    batch=BATCHES,
    pieces=PIECES,
)
def test_errors_of_a_reused_token_of_a_stream_add_up_to_the_threshold_at_most(
    settings: dict[str, Any], kind: str, size: float, seed: int, batch: int, pieces: list[int]
) -> None:
    assume("compute_budget" not in settings)
    config = TemporalReuseConfig(mode="causal", **settings)
    patches = clips(kind, seed, batch, pieces, size)
    computed = run({"mode": "causal", **settings}, patches, pieces).computed[..., 1:]
    price, points = config.effective_threshold() ** 2, patches.double()
    for stream in range(batch):
        reference, total = points[stream, 0], torch.zeros(PATCHES, dtype=torch.float64)
        for frame in range(1, sum(pieces)):
            weights = (1 / reference.norm(dim=-1).mean().clamp(min=1e-12)).expand(PATCHES)
            errors = (points[stream, frame] - reference).square().sum(-1)
            total = total + weighted(errors, weights, config)
            now = computed[stream, frame]
            slack = 1e-4 * price + 1e-9
            assert (total[~now] <= price + slack).all()
            if config.max_age is None:
                # Nothing is computed too early either.
                assert (total[now] >= price - slack).all()
            total[now] = 0
            reference = torch.where(now[:, None], points[stream, frame], reference)


def polyline_errors_of(points: torch.Tensor, corners: list[int], age: int, cached: torch.Tensor) -> torch.Tensor:
    """Squared errors `(patches, frames)` where the frames `corners` of every patch are computed, and `age` before."""
    times, frames = [-age, *corners], points.shape[0]
    known = [cached, *(points[corner] for corner in corners)]
    errors = []
    for time in range(frames):
        index = max(place for place, other in enumerate(times) if other <= time)
        left, made = times[index], known[index]
        if index + 1 < len(times):
            made = torch.lerp(made, known[index + 1], (time - left) / (times[index + 1] - left))
        errors.append((points[time] - made).square().sum(-1))
    return torch.stack(errors, dim=1)


@few(1)
@given(
    settings=reuse_settings(saliency_weight=0, scene_cut=1, max_age=None),
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    frames=st.integers(1, 6),
    age=st.integers(1, 4),
)
def test_each_corner_of_a_clip_is_worth_its_price_and_no_other_would_be(
    settings: dict[str, Any], kind: str, seed: int, frames: int, age: int
) -> None:
    assume("compute_budget" not in settings)
    config = TemporalReuseConfig(mode="bidirectional", **settings)
    patches = embeddings(kind, seed, (1, frames + 1, PATCHES, DIM))
    weights = torch.rand(1, PATCHES, generator=torch.Generator().manual_seed(seed)) + 0.2
    features, reference = patches[:, 1:], patches[:, 0]
    chosen = choose_corners(features, reference, torch.full((1, PATCHES), age), weights, GRID, config)[0]
    price, points, cached = config.effective_threshold() ** 2, features[0].double(), reference[0].double()

    def cost(corners: list[int], position: int) -> float:
        errors = polyline_errors_of(points, corners, age, cached).sum(1)
        return float(weighted(errors, weights[0], config)[position])

    for position in range(PATCHES):
        corners = chosen[:, position].nonzero().flatten().tolist()
        mine = cost(corners, position)
        slack = 1e-3 + 1e-5 * mine
        for frame in range(frames):
            toggled = sorted({frame} ^ set(corners))
            gained = cost(toggled, position) - mine
            assert gained + (len(toggled) - len(corners)) * price >= -slack
        # Between two corners, computing every token in between would take off all there is.
        errors = weighted(polyline_errors_of(points, corners, age, cached), weights[0], config)[position]
        for left, right in zip([-1, *corners], corners):
            assert float(errors[left + 1 : right].sum()) <= (right - left - 1) * price + slack


@few(1)
@given(
    mode=MODES,
    settings=reuse_settings(),
    kind=st.sampled_from([kind for kind in KINDS if kind != "zero"]),
    seed=SEEDS,
    batch=BATCHES,
    pieces=PIECES,
    exponent=st.integers(-12, 12),
)
def test_plans_are_relative_to_the_size_of_the_embeddings(
    mode: str,
    settings: dict[str, Any],
    kind: str,
    seed: int,
    batch: int,
    pieces: list[int],
    exponent: int,
) -> None:
    settings = {**settings, "mode": mode, "saliency_weight": 0}
    patches = clips(kind, seed, batch, pieces)
    plain, larger = run(settings, patches, pieces), run(settings, 2.0**exponent * patches, pieces)
    assert torch.equal(plain.computed, larger.computed)
    torch.testing.assert_close(plain.alpha, larger.alpha)


@few(1)
@given(
    mode=MODES,
    settings=reuse_settings(),
    kind=st.sampled_from(KINDS),
    seed=SEEDS,
    batch=st.integers(2, 3),
    frames=FRAMES,
    forgotten=st.integers(1, PATCHES),
)
def test_what_is_not_valid_is_computed_in_the_next_frame(
    mode: str, settings: dict[str, Any], kind: str, seed: int, batch: int, frames: int, forgotten: int
) -> None:
    patches = clips(kind, seed, batch, [1, frames])
    state = run({"mode": mode, **settings}, patches[:, :1], [1]).state
    # The first stream as a crop leaves it; the others go on.
    state = replace(state, age=state.age.clone())
    state.age[0, TOKENS - forgotten :] = NEVER
    plan = Planner(TemporalReuseConfig(mode=mode, **settings), GRID).plan(patches[:, 1:], state)
    assert plan.computed[0, 0, TOKENS - forgotten :].all()
    assert (plan.age <= frames + 1).all()


@few(1)
@given(pieces=PIECES, seed=SEEDS, batch=BATCHES, share=st.floats(0, 1), interpolate=st.booleans())
def test_plans_of_random_tokens_say_how_many_rows_there_are(
    pieces: list[int], seed: int, batch: int, share: float, interpolate: bool
) -> None:
    age = None
    generator = torch.Generator().manual_seed(seed)
    for frames in pieces:
        computed = torch.rand(batch, frames, TOKENS, generator=generator) < share
        if age is None:
            computed[:, 0] = True
        plan = ReusePlan.build(computed, age, interpolate)
        assert plan.row_counts == computed.flatten(0, 1).sum(-1).tolist()
        assert plan.is_dense == bool(computed.all())
        assert plan.is_hold == torch.equal(plan.left, plan.right)
        rows = list(accumulate(plan.row_counts))[-1] + (batch * TOKENS if plan.has_past else 0)
        assert int(plan.left.max()) < rows and int(plan.right.max()) < rows
        age = plan.age
